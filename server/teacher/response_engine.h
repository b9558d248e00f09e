// Answers for views: from the store where it can, else by running the teacher exactly once per view.
#ifndef KD_SERVER_TEACHER_RESPONSE_ENGINE_H_
#define KD_SERVER_TEACHER_RESPONSE_ENGINE_H_

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "core/response_key.h"
#include "data/dataset.h"
#include "data/view.h"
#include "kd/v1/plan.pb.h"
#include "prometheus/registry.h"
#include "storage/response_store.h"

namespace kd {

// Frames of one job's data set, under the names that its responses have.
struct ResponseData {
  std::unique_ptr<const Dataset> dataset;
  ViewMaker views;
  ResponseScope scope;
};

struct EngineResponse {
  // In the plan's order.
  std::vector<std::shared_ptr<const std::string>> records;
  // Nothing was computed for this call.
  bool from_cache = false;
};

struct ResponseEngineOptions {
  // Views per run of the model.
  size_t max_batch = 4;
  // Always computed and stored besides what a plan asks for, so that students with different methods share one pass.
  v1::ResponsePlan base_plan;
};

// Thread-safe. Metrics: kd_teacher_forwards_total (views computed), kd_teacher_forward_seconds, kd_cache_hits_total,
// kd_cache_misses_total.
class ResponseEngine {
 public:
  // Runs the teacher on views; one list of records per view in the plan's order. Called from one thread.
  using Model = std::function<absl::StatusOr<std::vector<std::vector<std::string>>>(const std::vector<const Frame*>&,
                                                                                    const v1::ResponsePlan&)>;

  ResponseEngine(const ResponseEngineOptions& options, Model model, ResponseStore& store,
                 prometheus::Registry& metrics);
  // Waits for the run in progress; later calls of Answer() fail with CANCELLED.
  ~ResponseEngine();

  // The records of `plan` for view `number` of `sample`. Concurrent calls for one view run the model once. Blocks while
  // the model runs. Errors: those of Dataset::Read, ViewMaker::Make and the model; a view that the model fails on fails
  // no other.
  absl::StatusOr<EngineResponse> Answer(const ResponseData& data, const std::string& sample, uint32_t number,
                                        const v1::ResponsePlan& plan);

  uint64_t forwards_total() const;

 private:
  // One view on its way through the store and the model; several calls may wait for it.
  struct Flight {
    Frame view;
    v1::ResponsePlan plan;
    bool done = false;
    absl::Status status;
    // What the model gave, by tensor and selection as ItemKey(). Empty after a flight that found its answer in the
    // store.
    absl::flat_hash_map<std::string, std::shared_ptr<const std::string>> records;
  };

  absl::StatusOr<EngineResponse> FromStore(const ResponseData& data, const std::string& sample, uint32_t number,
                                           const v1::ResponsePlan& plan);
  absl::Status Compute(const ResponseData& data, const std::string& sample, uint32_t number,
                       const std::shared_ptr<Flight>& flight);
  // After the flight is done.
  static absl::StatusOr<EngineResponse> FromFlight(const Flight& flight, const v1::ResponsePlan& plan);
  void Run();
  void RunModel(const std::vector<std::shared_ptr<Flight>>& batch);

  const ResponseEngineOptions options_;
  const Model model_;
  ResponseStore& store_;
  prometheus::Counter& forwards_;
  prometheus::Counter& hits_;
  prometheus::Counter& misses_;
  prometheus::Histogram& forward_seconds_;

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Flight>> flights_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Flight>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kd

#endif  // KD_SERVER_TEACHER_RESPONSE_ENGINE_H_
