// Greedy suppression of rotated boxes (detectors.md section 5). Boxes are rows of 7 floats.
#ifndef KD_OPS_NMS_H_
#define KD_OPS_NMS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace kd {

// Rows that stay among `order`, which lists rows best first: a box goes when its BEV IoU with a kept one is strictly
// greater than `iou_threshold`; at most `post_max` stay.
std::vector<int64_t> RotatedNms(const float* boxes, const std::vector<int64_t>& order, double iou_threshold,
                                size_t post_max);

}  // namespace kd

#endif  // KD_OPS_NMS_H_
