// Greedy suppression of rotated boxes (detectors.md section 5). Boxes are rows of 7 floats.
#ifndef KD_OPS_NMS_H_
#define KD_OPS_NMS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kd {

struct NmsOptions {
  // A box goes when its BEV IoU with a kept one is strictly greater.
  double iou_threshold = 0.7;
  // Best boxes by score that take part, and boxes kept at most.
  size_t pre_max = 4096;
  size_t post_max = 500;
};

// Row numbers of the kept boxes, by descending score (the earlier row first among equals).
std::vector<int64_t> RotatedNms(const float* boxes, const float* scores, size_t count, const NmsOptions& options);

}  // namespace kd

#endif  // KD_OPS_NMS_H_
