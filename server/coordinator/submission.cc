#include "server/coordinator/submission.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/detector_config.h"
#include "core/pair.h"
#include "core/sampler.h"
#include "data/dataset.h"
#include "data/view.h"

namespace kd {
namespace {

constexpr uint64_t kObjects = 20;
// x y z dx dy dz yaw score label vx vy
constexpr uint64_t kBoxColumns = 11;
constexpr uint64_t kIndexBytes = 4;
// Regression codes of CenterHead with velocity.
constexpr uint64_t kCodes = 10;

uint64_t ElementBytes(const std::string& precision) { return precision == "int8" ? 1 : precision == "fp16" ? 2 : 4; }

// Bytes of one teacher answer for `method`, headers left out.
uint64_t AnswerBytes(const v1::DistillMethod& method, const v1::Detector& teacher) {
  const std::array<int, 3> grid = GridCells(teacher);
  const uint64_t stride = static_cast<uint64_t>(FeatureMapStride(teacher));
  const uint64_t cells = static_cast<uint64_t>(grid[0]) / stride * (static_cast<uint64_t>(grid[1]) / stride);
  const auto& widths = teacher.backbone_2d().num_upsample_filters();
  const uint64_t channels = std::accumulate(widths.begin(), widths.end(), uint64_t{0});
  const uint64_t heads = static_cast<uint64_t>(std::max(1, teacher.dense_head().class_names_each_head_size()));
  const uint64_t classes = static_cast<uint64_t>(teacher.class_names_size());
  const uint64_t element = ElementBytes(method.precision());
  if (method.method() == "pivotal_logits") {
    const uint64_t kept = std::min<uint64_t>(method.top_k(), cells);
    const uint64_t regression = method.reg_weight() > 0 ? heads * kObjects * kCodes * sizeof(float) : 0;
    return kept * (heads * kIndexBytes + classes * element) + regression;
  }
  if (method.method() == "uniform_logits") return cells * classes * element;
  if (method.method() == "label") return kObjects * kBoxColumns * sizeof(float);
  if (method.method() == "feature_roi") return kObjects * method.grid_size() * method.grid_size() * channels * element;
  // Foreground features: a disc of min_radius around every object.
  const uint64_t across = 2 * teacher.dense_head().min_radius() + 1;
  return kObjects * across * across * (kIndexBytes + channels * element);
}

absl::StatusOr<uint64_t> CountFrames(absl::StatusOr<std::vector<std::string>> samples, const v1::Data& data,
                                     const std::string& split) {
  KD_RETURN_IF_ERROR(samples.status());
  if (samples->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("split \"", split, "\" of ", data.root(), " has no frames; name another in data"));
  }
  return samples->size();
}

}  // namespace

absl::StatusOr<v1::Estimate> CheckSubmission(const v1::Pair& pair, const std::string* teacher_weights) {
  const v1::Data& data = pair.data();
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(data));
  v1::Estimate estimate;
  KD_ASSIGN_OR_RETURN(const uint64_t train, CountFrames(TrainSamples(*dataset, data), data, data.train_split()));
  KD_ASSIGN_OR_RETURN(const uint64_t val, CountFrames(dataset->Split(data.val_split()), data, data.val_split()));
  KD_RETURN_IF_ERROR(ViewMaker::Open(data, *dataset).status());
  estimate.set_train_frames(train);
  estimate.set_val_frames(val);
  const uint64_t steps_per_epoch = StepsPerEpoch({.num_samples = static_cast<uint32_t>(train),
                                                  .views = data.views(),
                                                  .batch_size = pair.train().batch_size(),
                                                  .world_size = pair.train().workers()});
  estimate.set_steps(steps_per_epoch * pair.train().epochs());

  v1::Detector teacher, base;
  if (teacher_weights != nullptr) {
    const absl::StatusOr<SafeTensorsFile> file = ParseSafeTensors(*teacher_weights);
    if (!file.ok()) return Annotate(file.status(), absl::StrCat("teacher.weights \"", pair.teacher().weights(), "\""));
    absl::StatusOr<v1::Detector> detector = DetectorOf(*file);
    if (!detector.ok())
      return Annotate(detector.status(), absl::StrCat("teacher.weights \"", pair.teacher().weights(), "\""));
    teacher = *std::move(detector);
    KD_RETURN_IF_ERROR(CheckDetectorData("teacher", teacher, data));
  }
  if (pair.student().model().empty()) {
    if (teacher_weights == nullptr) {
      return absl::InvalidArgumentError(
          "student.model is missing; name one, or a teacher whose configuration the student takes");
    }
    base = teacher;
  } else {
    KD_ASSIGN_OR_RETURN(base, BuiltInDetector(pair.student().model()));
  }
  KD_ASSIGN_OR_RETURN(const v1::Detector student, MakeStudentDetector(base, pair.student()));
  KD_RETURN_IF_ERROR(CheckDetectorData("student", student, data));

  if (pair.distill_size() > 0 && teacher_weights != nullptr) {
    // Every frame takes its views in turn, one per epoch.
    const uint64_t views = std::clamp<uint64_t>(data.views(), 1, pair.train().epochs());
    const uint64_t samples = steps_per_epoch * pair.train().batch_size() * pair.train().workers();
    estimate.set_teacher_passes(std::min(train * views, samples * pair.train().epochs()));
    estimate.set_passes_without_a_fleet(samples * pair.train().epochs());
    uint64_t bytes = 0;
    for (const v1::DistillMethod& method : pair.distill()) bytes += AnswerBytes(method, teacher);
    estimate.set_response_bytes(bytes * estimate.teacher_passes());
  }
  return estimate;
}

}  // namespace kd
