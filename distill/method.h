// Distillation methods as the worker uses them: what to ask of the teacher, and the loss.
#ifndef KD_DISTILL_METHOD_H_
#define KD_DISTILL_METHOD_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/record.h"
#include "kd/v1/job.pb.h"
#include "kd/v1/plan.pb.h"
#include "models/detector.h"

namespace kd {

// Records of one view by tensor name ("hm.0", "boxes", ...), as received from the teacher.
using Response = std::map<std::string, DecodedRecord>;

// What the losses of one step see.
struct StepContext {
  const Predictions& student;
  // Clamped sigmoid of the student's heat maps, per head.
  const std::vector<torch::Tensor>& student_probabilities;
  // One response per frame of the batch.
  const std::vector<Response>& responses;
  // Ground truth without teacher boxes, B x M x 8.
  const torch::Tensor& gt_boxes;
  const v1::Detector& student_detector;
  const v1::Detector& teacher_detector;
};

// One entry of pair.distill. Adapter parameters, if any, are registered in the module and trained with the student.
class DistillationMethod : public torch::nn::Module {
 public:
  // What it needs of every response.
  virtual v1::ResponsePlan Plan() const = 0;

  // Replaces a frame's ground truth before target assignment (label distillation); others return it unchanged.
  // `labels` count from 0.
  virtual std::vector<LabeledBox> Targets(std::vector<LabeledBox> ground_truth, const Response& response) const {
    return ground_truth;
  }

  // Weighted loss terms by name; empty for methods that only change targets. Gradients reach the student only.
  virtual std::map<std::string, torch::Tensor> Loss(const StepContext& step) = 0;
};

// INVALID_ARGUMENT: method unknown or impossible for this pair of detectors (says why and what would do).
absl::StatusOr<std::shared_ptr<DistillationMethod>> MakeMethod(const v1::DistillMethod& spec,
                                                               const v1::Detector& teacher,
                                                               const v1::Detector& student);

// The detections in a "boxes" record.
std::vector<Detection> DetectionsOf(const DecodedRecord& boxes);

// The teacher's half: turns the teacher's predictions for one view into the records that `plan` asks for.
// `view` gives the boxes that pivotal selection and RoI pooling need. Runs beside the teacher, before cache and wire.
absl::StatusOr<std::vector<std::string>> EncodeResponse(const v1::ResponsePlan& plan, DetectorModelImpl& teacher,
                                                        const Predictions& predictions, int64_t frame_in_batch,
                                                        const Frame& view, uint32_t view_crc32c);

}  // namespace kd

#endif  // KD_DISTILL_METHOD_H_
