// Where a worker's teacher responses come from: the fleet, or a teacher in the worker's own process.
#ifndef KD_WORKER_RESPONSE_SOURCE_H_
#define KD_WORKER_RESPONSE_SOURCE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "data/dataset.h"
#include "data/view.h"
#include "distill/teacher_model.h"
#include "kd/v1/job.pb.h"
#include "kd/v1/plan.pb.h"
#include "kd/v1/teacher.pb.h"
#include "kd/v1/view.pb.h"

namespace kd {

struct ReceivedResponse {
  std::vector<std::string> records;
  bool from_cache = false;
};

// Used by one thread.
class ResponseSource {
 public:
  virtual ~ResponseSource() = default;
  // Announces what will be asked, in order; called once, first.
  virtual absl::Status Start(const v1::ResponsePlan& plan, std::vector<v1::ViewRef> views) = 0;
  // The response to the next view. `view` is what the worker sees itself; only a teacher in the own process looks at
  // it. DEADLINE_EXCEEDED names what it waited for.
  virtual absl::StatusOr<ReceivedResponse> Next(const Frame& view) = 0;
};

// Runs the teacher on the worker's thread, as libraries without a service do.
std::unique_ptr<ResponseSource> NewInProcessSource(std::unique_ptr<TeacherModel> teacher);

// The same as the negative control: answers view v + `view_offset` of the frame, as Teacher.StreamResponses does with
// it. `dataset` outlives the source.
std::unique_ptr<ResponseSource> NewMisalignedSource(std::unique_ptr<TeacherModel> teacher, const Dataset& dataset,
                                                    ViewMaker views, uint32_t view_offset);

// Reads from the fleet. `address` tells where the teacher is, now; a teacher that is lost may come back within
// `patience`.
struct RemoteSourceOptions {
  v1::StreamResponsesRequest request;  // without plan and views
  std::function<absl::StatusOr<std::string>()> address;
  absl::Duration patience = absl::Minutes(2);
};
std::unique_ptr<ResponseSource> NewRemoteSource(RemoteSourceOptions options);

// What a job asks of its teacher, but for plan and views. Errors: those of Dataset::Digest.
absl::StatusOr<v1::StreamResponsesRequest> ResponsesFor(const v1::Pair& pair, const std::string& job_id,
                                                        const std::string& teacher_digest, const Dataset& dataset,
                                                        const ViewMaker& views);

}  // namespace kd

#endif  // KD_WORKER_RESPONSE_SOURCE_H_
