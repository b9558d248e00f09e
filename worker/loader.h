// Feeds the training loop: frames, views, teacher responses and voxels, prepared ahead on a thread of its own.
#ifndef KD_WORKER_LOADER_H_
#define KD_WORKER_LOADER_H_

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/sampler.h"
#include "data/dataset.h"
#include "data/view.h"
#include "distill/method.h"
#include "models/detector.h"
#include "worker/response_source.h"

namespace kd {

struct LoaderOptions {
  const Dataset* dataset = nullptr;
  const ViewMaker* views = nullptr;
  std::vector<std::string> samples;
  SamplerOptions sampler;
  uint32_t rank = 0;
  uint32_t epochs = 1;
  // Steps already taken by an earlier run of the same job.
  uint64_t first_step = 0;
  v1::Detector student;
  // Empty: ordinary training, no source needed.
  std::vector<std::shared_ptr<DistillationMethod>> methods;
  std::unique_ptr<ResponseSource> source;
  // False only in the negative control: neither checksums nor boxes are compared (TeacherSpec.verify_views).
  bool verify_views = true;
  // Steps prepared ahead.
  size_t ahead = 4;
};

// One step's input.
struct StepInput {
  uint64_t step = 0;
  uint32_t epoch = 0;
  // batch.gt_boxes holds the targets, teacher boxes included; plain_boxes the ground truth alone.
  Batch batch;
  torch::Tensor plain_boxes;
  std::vector<Response> responses;
  // "000134 view 3", for messages.
  std::vector<std::string> names;
  uint32_t cached_responses = 0;
};

// Next() is called by one thread.
class Loader {
 public:
  explicit Loader(LoaderOptions options);
  // Stops the thread; a wait inside the source ends by its own deadline.
  ~Loader();

  // The next step's input in order; OUT_OF_RANGE after the last one. Any other error ends the loader:
  // FAILED_PRECONDITION when a response was computed on another view (both checksums shown), when the teacher's
  // confident boxes don't lie on the labels (judged on the first 32 views that have some, or at an epoch's end if they
  // are fewer), or when a box is no box; DATA_LOSS for a damaged frame, object to paste or record; DEADLINE_EXCEEDED
  // after `timeout`, naming the step.
  absl::StatusOr<StepInput> Next(absl::Duration timeout);

  uint64_t total_steps() const { return total_steps_; }

 private:
  void Run();
  absl::StatusOr<StepInput> Prepare(uint64_t step);
  absl::StatusOr<Response> Receive(const Frame& view, uint32_t number, StepInput& input);
  absl::Status AddToAlignment(const Frame& view, uint32_t number, const Response& response);
  absl::Status JudgeAlignment() const;
  const std::vector<SampleView>& OrderOf(uint32_t epoch);

  LoaderOptions options_;
  const uint64_t steps_per_epoch_, total_steps_;
  // Only the loader's thread.
  uint32_t order_epoch_ = UINT32_MAX;
  std::vector<SampleView> order_;
  int views_checked_ = 0, boxes_seen_ = 0, boxes_on_labels_ = 0;
  // A view whose boxes lie off its labels, for the message.
  std::string misaligned_view_;

  absl::Mutex mutex_;
  std::deque<absl::StatusOr<StepInput>> ready_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// What all methods together need of a response.
v1::ResponsePlan JointPlan(const std::vector<std::shared_ptr<DistillationMethod>>& methods);

}  // namespace kd

#endif  // KD_WORKER_LOADER_H_
