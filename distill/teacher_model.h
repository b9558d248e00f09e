// A frozen teacher: frames in, encoded records out.
#ifndef KD_DISTILL_TEACHER_MODEL_H_
#define KD_DISTILL_TEACHER_MODEL_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/frame.h"
#include "kd/v1/detector.pb.h"
#include "kd/v1/plan.pb.h"

namespace kd {

// Not thread-safe.
class TeacherModel {
 public:
  // From a weights file of ours (models/detector.h); on a GPU where there is one. INVALID_ARGUMENT as LoadDetector.
  static absl::StatusOr<std::unique_ptr<TeacherModel>> Create(absl::string_view safetensors_bytes);
  ~TeacherModel();

  // One list of records per view, in the plan's order; each carries the view's checksum.
  // INVALID_ARGUMENT: a tensor that this teacher does not have. RESOURCE_EXHAUSTED, INTERNAL: the network failed.
  absl::StatusOr<std::vector<std::vector<std::string>>> Answer(const std::vector<const Frame*>& views,
                                                               const v1::ResponsePlan& plan);

  // Digest of the weights file.
  const std::string& digest() const { return digest_; }
  const v1::Detector& detector() const { return detector_; }

  // True when simulated frames get bit-identical answers alone, in a batch and in another order. Only then may answers
  // be computed in batches.
  bool AnswersAreBatchInvariant();

 private:
  TeacherModel() = default;
  // Both may throw what torch throws.
  static absl::StatusOr<std::unique_ptr<TeacherModel>> Load(absl::string_view safetensors_bytes);
  absl::StatusOr<std::vector<std::vector<std::string>>> Forward(const std::vector<const Frame*>& views,
                                                                const v1::ResponsePlan& plan);

  struct Network;
  std::unique_ptr<Network> network_;
  std::string digest_;
  v1::Detector detector_;
};

}  // namespace kd

#endif  // KD_DISTILL_TEACHER_MODEL_H_
