// nuScenes's official detection metrics (datasets.md sections 2.7 and 2.8), in double precision.
#ifndef KD_EVAL_NUSCENES_H_
#define KD_EVAL_NUSCENES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/nuscenes_tables.h"
#include "eval/nuscenes_submission.h"

namespace kd {

// Metres on the ground between centres that still match.
inline constexpr std::array<double, 4> kNuscenesDistances = {0.5, 1, 2, 4};
// Of true positives: translation (m), scale (1 - IoU), orientation (rad), velocity (m/s), attribute (1 - accuracy).
inline constexpr std::array<const char*, 5> kNuscenesErrors = {"trans_err", "scale_err", "orient_err", "vel_err",
                                                               "attr_err"};

struct NuscenesClassScores {
  // 0..1, by kNuscenesDistances.
  std::array<double, kNuscenesDistances.size()> ap{};
  double mean_ap = 0;
  // NaN where the class has no such error.
  std::array<double, kNuscenesErrors.size()> errors{};
};

struct NuscenesScores {
  std::array<NuscenesClassScores, kNuscenesClasses.size()> classes;
  double mean_ap = 0;
  std::array<double, kNuscenesErrors.size()> errors{};
  // max(0, 1 - error).
  std::array<double, kNuscenesErrors.size()> error_scores{};
  double nds = 0;
  // Boxes left by the filters.
  size_t num_labels = 0, num_detections = 0;
};

// One sample's boxes after the filters.
struct NuscenesEvalSample {
  // What errors call it.
  std::string name;
  std::vector<NuscenesBox> labels;
  std::vector<NuscenesBox> detections;
};

// Scores what is given, without filters. Among equal scores the detection that comes last is matched first.
// INVALID_ARGUMENT, as in nuScenes's own tool: a detection that matches has a size of 0 or below, or scores of a class
// fall below 0 before all its labels are found.
absl::StatusOr<NuscenesScores> ScoreNuscenes(absl::Span<const NuscenesEvalSample> samples);

// Filters and scores `detections` of a split's samples.
// FAILED_PRECONDITION: the tables hold no annotations. DATA_LOSS: a sample has no LiDAR key frame, or an evaluated
// object more than one attribute. INVALID_ARGUMENT: that of ScoreNuscenes().
absl::StatusOr<NuscenesScores> EvaluateNuscenes(const NuscenesTables& tables,
                                                std::vector<NuscenesDetections> detections);

// In the official result's form; NaN is null.
std::string NuscenesScoresToJson(const NuscenesScores& scores);
std::string NuscenesScoresToTable(const NuscenesScores& scores);

}  // namespace kd

#endif  // KD_EVAL_NUSCENES_H_
