// Detections in nuScenes's submission format (datasets.md section 2.6).
#ifndef KD_EVAL_NUSCENES_SUBMISSION_H_
#define KD_EVAL_NUSCENES_SUBMISSION_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/nuscenes_tables.h"

namespace kd {

// Labelled or detected, in the global frame.
struct NuscenesBox {
  Vec3 center{};
  // Width, length, height; above 0 of labels, any number of detections.
  Vec3 size{};
  // NaN of a detection whose rotation holds an infinite number.
  double yaw = 0;
  // NaN: unknown.
  std::array<double, 2> velocity{};
  // Index into kNuscenesClasses.
  int8_t label = 0;
  // Index into kNuscenesAttributes; -1: none.
  int8_t attribute = -1;
  // Of detections alone.
  double score = 0;
};

inline constexpr int kMaxNuscenesBoxes = 500;

struct NuscenesDetections {
  // Index into NuscenesTables::samples().
  int32_t sample = -1;
  std::vector<NuscenesBox> boxes;
};

// Reads a submission for just the samples `expected`, and takes what nuScenes's own tool takes
// (docs/nuscenes-scores.md). Samples and boxes keep the file's order, which decides between equal scores. Boxes of no
// points (num_pts) are left out. NOT_FOUND: no such file. INVALID_ARGUMENT: broken JSON, a field that is missing or of
// another type, NaN in other places than velocities, over 500 boxes, no box in any sample, a sample that is missing,
// twice there or none of `expected`; names the sample's token, the box (from 0) and field.
absl::StatusOr<std::vector<NuscenesDetections>> ReadNuscenesSubmission(const std::string& path,
                                                                       const NuscenesTables& tables,
                                                                       absl::Span<const int32_t> expected);

// Writes LiDAR detections as a submission that ReadNuscenesSubmission and nuScenes's own tools take. NaN velocities are
// written as 0.
// Codes of WriteFileAtomically().
absl::Status WriteNuscenesSubmission(const std::string& path, const NuscenesTables& tables,
                                     absl::Span<const NuscenesDetections> detections);

}  // namespace kd

#endif  // KD_EVAL_NUSCENES_SUBMISSION_H_
