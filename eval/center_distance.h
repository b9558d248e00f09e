// Average precision by centre distance, for data without cameras: the metric of docs/benchmark.md.
#ifndef KD_EVAL_CENTER_DISTANCE_H_
#define KD_EVAL_CENTER_DISTANCE_H_

#include <string>
#include <vector>

#include "data/frame.h"

namespace kd {

struct CenterDistanceResult {
  // [class][distance], 0..100; NaN for a class without ground truth.
  std::vector<std::vector<double>> ap;
  // Mean over the classes that have ground truth and all distances.
  double mean_ap = 0;
};

inline constexpr double kCenterDistances[] = {0.5, 1.0, 2.0};

// Detections and ground truth per frame, in the same order. For each class and distance d: detections of all frames by
// descending score (the earlier first among equals) take the nearest free ground truth of their class and frame if it
// is nearer than d, seen from above. AP: precision at recalls 0, 0.01, .., 1, each the largest at this recall or
// beyond.
CenterDistanceResult EvaluateCenterDistance(const std::vector<std::vector<Detection>>& detections,
                                            const std::vector<std::vector<LabeledBox>>& ground_truth, int num_classes);

}  // namespace kd

#endif  // KD_EVAL_CENTER_DISTANCE_H_
