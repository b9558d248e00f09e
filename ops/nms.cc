#include "ops/nms.h"

#include <algorithm>
#include <numeric>

#include "ops/rotated_iou.h"

namespace kd {

std::vector<int64_t> RotatedNms(const float* boxes, const float* scores, size_t count, const NmsOptions& options) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  if (order.size() > options.pre_max) order.resize(options.pre_max);

  std::vector<int64_t> kept;
  for (const int64_t candidate : order) {
    if (kept.size() >= options.post_max) break;
    const bool suppressed = std::any_of(kept.begin(), kept.end(), [&](int64_t other) {
      return BevIou(boxes + candidate * 7, boxes + other * 7) > options.iou_threshold;
    });
    if (!suppressed) kept.push_back(candidate);
  }
  return kept;
}

}  // namespace kd
