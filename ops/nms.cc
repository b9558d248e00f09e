#include "ops/nms.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/container/flat_hash_map.h"
#include "ops/rotated_iou.h"

namespace kd {
namespace {

// Kept boxes by where they lie, so that a candidate meets only those that it can touch. A cell is as large as the largest box,
// whose neighbours are then in the cells around it.
class KeptBoxes {
 public:
  KeptBoxes(const float* boxes, const std::vector<int64_t>& candidates) : boxes_(boxes) {
    for (const int64_t row : candidates) {
      if (Bounded(row)) cell_ = std::max(cell_, std::hypot(Box(row)[3], Box(row)[4]));
    }
  }

  void Add(int64_t row) {
    all_.push_back(row);
    if (Bounded(row)) {
      by_cell_[Cell(row, 0, 0)].push_back(row);
    } else {
      unbounded_.push_back(row);
    }
  }

  const std::vector<int64_t>& all() const { return all_; }

  bool AnyOverlaps(int64_t row, double threshold) const {
    const auto any = [&](const std::vector<int64_t>& rows) {
      return std::any_of(rows.begin(), rows.end(), [&](int64_t other) { return BevIou(Box(row), Box(other)) > threshold; });
    };
    if (!Bounded(row)) return any(all_);
    for (int64_t dx = -1; dx <= 1; ++dx) {
      for (int64_t dy = -1; dy <= 1; ++dy) {
        const auto found = by_cell_.find(Cell(row, dx, dy));
        if (found != by_cell_.end() && any(found->second)) return true;
      }
    }
    return any(unbounded_);
  }

 private:
  const float* Box(int64_t row) const { return boxes_ + row * 7; }
  // Boxes whose place or size is no number of this world are compared with all.
  bool Bounded(int64_t row) const {
    constexpr float kMost = 1e6f;
    const float* const b = Box(row);
    return std::abs(b[0]) < kMost && std::abs(b[1]) < kMost && std::abs(b[3]) < kMost && std::abs(b[4]) < kMost;
  }
  std::pair<int64_t, int64_t> Cell(int64_t row, int64_t dx, int64_t dy) const {
    return {static_cast<int64_t>(std::floor(Box(row)[0] / cell_)) + dx, static_cast<int64_t>(std::floor(Box(row)[1] / cell_)) + dy};
  }

  const float* const boxes_;
  float cell_ = 1e-2f;
  std::vector<int64_t> all_, unbounded_;
  absl::flat_hash_map<std::pair<int64_t, int64_t>, std::vector<int64_t>> by_cell_;
};

}  // namespace

std::vector<int64_t> RotatedNms(const float* boxes, const float* scores, size_t count, const NmsOptions& options) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return scores[a] > scores[b]; });
  if (order.size() > options.pre_max) order.resize(options.pre_max);

  KeptBoxes kept(boxes, order);
  for (const int64_t candidate : order) {
    if (kept.all().size() >= options.post_max) break;
    if (!kept.AnyOverlaps(candidate, options.iou_threshold)) kept.Add(candidate);
  }
  return kept.all();
}

}  // namespace kd
