// KITTI's label and result text: one object a line (datasets.md section 1.2). Numbers stay doubles, because the
// official evaluation compares them exactly.
#ifndef KD_DATA_KITTI_LABEL_H_
#define KD_DATA_KITTI_LABEL_H_

#include <array>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct KittiObject {
  std::string type;  // "Car", ..., "DontCare"
  double truncated = 0;
  int occluded = 0;
  double alpha = 0;
  // Pixels: left, top, right, bottom.
  std::array<double, 4> box2d{};
  double height = 0, width = 0, length = 0;
  // Centre of the bottom face in rectified camera 0: x right, y down, z forward.
  double x = 0, y = 0, z = 0;
  double rotation_y = 0;
  // Results only.
  double score = 0;
};

// 15 fields a line.
enum class KittiText { kLabels, kResults };  // kResults: 16 fields, the last one is the score

// INVALID_ARGUMENT: "<file>:<line>: ..." for a wrong number of fields or something that is no number up to 1e9.
absl::StatusOr<std::vector<KittiObject>> ParseKittiObjects(absl::string_view text, KittiText kind,
                                                           absl::string_view file_name);

// One line without its end; results with their score.
std::string FormatKittiObject(const KittiObject& object, KittiText kind);

}  // namespace kd

#endif  // KD_DATA_KITTI_LABEL_H_
