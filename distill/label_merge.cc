#include "distill/label_merge.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/rotated_iou.h"

namespace kd {
namespace {

std::array<float, 7> Row(const Box3d& b) { return {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw}; }

// `label` < 0: any class.
double BestIou(const Box3d& box, const std::vector<LabeledBox>& truth, int label) {
  double best = 0;
  const auto row = Row(box);
  for (const LabeledBox& other : truth) {
    if (label >= 0 && other.label != label) continue;
    best = std::max(best, Iou3d(row.data(), Row(other.box).data()));
  }
  return best;
}

}  // namespace

MergedLabels MergeLabels(const std::vector<LabeledBox>& ground_truth, const std::vector<Detection>& teacher,
                         const LabelMergeOptions& options) {
  using Score = LabelMergeOptions::Score;
  std::vector<LabeledBox> truth;
  std::copy_if(ground_truth.begin(), ground_truth.end(), std::back_inserter(truth),
               [](const LabeledBox& box) { return box.box.dx > 0; });
  std::vector<LabeledBox> passed;
  for (const Detection& detection : teacher) {
    if (detection.label < 0 || detection.label >= static_cast<int32_t>(options.thresholds.size())) continue;
    double score = detection.score;
    if (options.score == Score::kIou) score = BestIou(detection.box, truth, -1);
    if (options.score == Score::kMixed && detection.label == 0) score = BestIou(detection.box, truth, 0);
    if (score > options.thresholds[detection.label]) {
      passed.push_back({.box = detection.box, .label = detection.label, .vx = detection.vx, .vy = detection.vy});
    }
  }
  MergedLabels merged;
  merged.num_teacher_boxes = static_cast<int>(passed.size());
  const auto append = [&](const std::vector<LabeledBox>& boxes) {
    merged.boxes.insert(merged.boxes.end(), boxes.begin(), boxes.end());
  };
  if (options.use_ground_truth && options.ground_truth_first) append(truth);
  append(passed);
  if (options.use_ground_truth && !options.ground_truth_first) append(truth);
  return merged;
}

double ShareOfBoxesOnLabels(const std::vector<Detection>& teacher, const std::vector<LabeledBox>& labels,
                            double distance) {
  if (teacher.empty()) return 1;
  const auto on_label = [&](const Detection& detection) {
    return std::any_of(labels.begin(), labels.end(), [&](const LabeledBox& label) {
      return std::hypot(label.box.x - detection.box.x, label.box.y - detection.box.y) <= distance;
    });
  };
  return static_cast<double>(std::count_if(teacher.begin(), teacher.end(), on_label)) /
         static_cast<double>(teacher.size());
}

}  // namespace kd
