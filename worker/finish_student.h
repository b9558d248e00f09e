// The end of every job: the trained student is written, scored and pushed.
#ifndef KD_WORKER_FINISH_STUDENT_H_
#define KD_WORKER_FINISH_STUDENT_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "kd/v1/coordinator.pb.h"
#include "kd/v1/job.pb.h"
#include "models/detector.h"

namespace kd {

struct FinishOptions {
  v1::Pair pair;
  const Dataset* dataset = nullptr;
  std::string folder;
  // Empty without a teacher.
  std::string teacher_digest;
  // Empty: not pushed. Else pair.output names the repository; a pair without output is not pushed either.
  std::string registry_url;
  // Told "evaluating" and "pushing".
  std::function<void(const std::string&)> on_phase;
};

// Writes model.safetensors, pair.yaml (complete) and metrics.json into the folder, with the scores on the validation
// split (worker/evaluate.h), and pushes them as one artifact.
absl::StatusOr<v1::Outcome> FinishStudent(DetectorModelImpl& student, const FinishOptions& options);

}  // namespace kd

#endif  // KD_WORKER_FINISH_STUDENT_H_
