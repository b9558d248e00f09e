// Average precision from boxes alone, by range: the measure of own data, which has no cameras (docs/evaluation.md).
#ifndef KD_EVAL_LIDAR_AP_H_
#define KD_EVAL_LIDAR_AP_H_

#include <array>
#include <string>
#include <vector>

#include "data/frame.h"

namespace kd {

// Bins of a centre's distance from the sensor on the ground, metres: from the number to the next one.
inline constexpr std::array<double, 3> kLidarRanges = {0, 30, 50};
// Names of the bins, the first one being all ranges together.
inline constexpr std::array<const char*, 4> kLidarRangeNames = {"all", "0-30m", "30-50m", "50m+"};
// Least overlaps of a match.
inline constexpr std::array<double, 2> kLidarOverlaps = {0.5, 0.7};

// [bin as in kLidarRangeNames][overlap], 0..100; NaN where a bin has no ground truth.
using LidarPrecision = std::array<std::array<double, kLidarOverlaps.size()>, kLidarRangeNames.size()>;
struct LidarClassScores {
  LidarPrecision bev, box3d;
};

// Detections and ground truth per frame, in the same order. For each class, view and overlap: detections of a frame by
// descending score (the earlier first among equals) take the free ground truth of their class that they overlap most,
// if it is enough. A match counts in the bin of its ground truth, any other detection in its own. AP: precision at
// recalls 1/40, 2/40, .., 1, each the largest at this recall or beyond.
std::vector<LidarClassScores> EvaluateLidarAp(const std::vector<std::vector<Detection>>& detections,
                                              const std::vector<std::vector<LabeledBox>>& ground_truth,
                                              int num_classes);

}  // namespace kd

#endif  // KD_EVAL_LIDAR_AP_H_
