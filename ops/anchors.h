// Anchors on a BEV map and which ground truth each learns (detectors.md section 5). Boxes are rows of 7 floats.
#ifndef KD_OPS_ANCHORS_H_
#define KD_OPS_ANCHORS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/box_geometry.h"

namespace kd {

// Anchors of one class.
struct AnchorClass {
  // dx, dy, dz.
  std::vector<std::array<float, 3>> sizes;
  std::vector<float> rotations;
  float bottom_height = 0;
  // Anchors at cell centres; otherwise the first and the last lie on the border of the range.
  bool align_center = false;
  // Positive from this overlap on; negative below that one.
  float matched_threshold = 0.6f, unmatched_threshold = 0.45f;

  int64_t per_cell() const { return static_cast<int64_t>(sizes.size() * rotations.size()); }
};

class AnchorGrid {
 public:
  // A map of `height` x `width` cells over `range` (x_min, y_min, z_min, x_max, y_max, z_max).
  AnchorGrid(std::vector<AnchorClass> classes, const std::array<float, 6>& range, int64_t height, int64_t width);

  // Anchor (iy * width + ix) * per_cell() + a, where a runs over class, size and rotation, the last one fastest.
  const std::vector<float>& boxes() const { return boxes_; }
  size_t size() const { return boxes_.size() / 7; }
  int64_t per_cell() const { return per_cell_; }
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  const std::vector<AnchorClass>& classes() const { return classes_; }

 private:
  std::vector<AnchorClass> classes_;
  int64_t height_, width_, per_cell_ = 0;
  std::vector<float> boxes_;
};

struct AnchorTargetOptions {
  // Overlap is the 3D IoU of turned boxes instead of the BEV IoU of the nearest axis-aligned ones.
  bool match_height = false;
  ResidualCoder coder;
};

struct AnchorTargets {
  // Per anchor: -1 ignored, 0 background, otherwise the class from 1.
  std::vector<int64_t> labels;
  // Per anchor the code of its ground truth; zero where the label is not positive.
  std::vector<float> codes;
};

// gt_boxes: `count` rows of 8 floats, the last one the class from 1; rows of class 0 pad. Each class's anchors see only
// its own boxes. A box's best anchors (all that reach the best overlap) are positive whatever the thresholds say, and
// learn their own best box.
AnchorTargets AssignAnchors(const AnchorGrid& grid, const float* gt_boxes, size_t count,
                            const AnchorTargetOptions& options);

}  // namespace kd

#endif  // KD_OPS_ANCHORS_H_
