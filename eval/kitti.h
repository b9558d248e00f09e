// KITTI's official average precision (datasets.md section 1.7), in double precision.
#ifndef KD_EVAL_KITTI_H_
#define KD_EVAL_KITTI_H_

#include <array>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/kitti_label.h"

namespace kd {

struct KittiFrame {
  std::vector<KittiObject> labels;
  std::vector<KittiObject> detections;
};

struct KittiCurve {
  // Interpolated precision (or orientation similarity) at the 41 recall steps, 0..1.
  std::array<double, 41> curve{};
  // Percent.
  double r40 = 0, r11 = 0;
};

// set ("strict", "loose") -> class ("Car", ...) -> metric ("bbox", "aos", "bev", "3d") -> difficulty ("easy", ...).
// A class that no detection names is absent, and "aos" is when any detection has alpha = -10.
using KittiResult =
    std::map<std::string, std::map<std::string, std::map<std::string, std::map<std::string, KittiCurve>>>>;

KittiResult EvaluateKitti(const std::vector<KittiFrame>& frames);

// Reads every FRAME.txt of `detections_folder` (or just those that `frames_file` names, one a line) and its labels.
// NOT_FOUND: folder, label or frame missing. INVALID_ARGUMENT: a damaged line, with file and line.
absl::StatusOr<std::vector<KittiFrame>> ReadKittiFrames(const std::string& labels_folder,
                                                        const std::string& detections_folder,
                                                        const std::string& frames_file);

// The result as JSON text and as a table of R40 and R11.
std::string KittiResultToJson(const KittiResult& result);
std::string KittiResultToTable(const KittiResult& result);

}  // namespace kd

#endif  // KD_EVAL_KITTI_H_
