#include "ops/nms.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/rotated_iou.h"

namespace kd {
namespace {

// Boxes whose place or size is no number of this world are compared with all.
bool IsBounded(const float* box) {
  constexpr float kMost = 1e6f;
  return std::abs(box[0]) < kMost && std::abs(box[1]) < kMost && std::abs(box[3]) < kMost && std::abs(box[4]) < kMost;
}

// Bounded candidates by where they lie, so that each meets only those that it can touch: a cell is as large as the
// largest box, whose neighbours are then in the cells around it. The grid has about as many cells as there are
// candidates and is laid out again and again over the ground, so that its size does not depend on where boxes lie:
// places that share a cell only cost time. Boxes stand in memory by cell, row after row, since candidates come by
// score, from all over the place.
class CandidateGrid {
 public:
  // `candidates` are rows of `boxes`, all bounded.
  CandidateGrid(const float* boxes, const std::vector<int64_t>& candidates) {
    const size_t count = candidates.size();
    float cell = 1e-2f;
    for (const int64_t row : candidates) cell = std::max(cell, Diagonal(boxes + row * 7));
    while (side() * side() < count) ++bits_;
    cells_.reserve(count);
    starts_.resize(side() * side() + 1);
    for (const int64_t row : candidates) {
      const auto wrapped = [&](float place) {
        return static_cast<size_t>(static_cast<int64_t>(std::floor(place / cell))) & (side() - 1);
      };
      cells_.push_back(static_cast<uint32_t>(wrapped(boxes[row * 7 + 1]) << bits_ | wrapped(boxes[row * 7])));
      ++starts_[cells_.back() + 1];
    }
    std::partial_sum(starts_.begin(), starts_.end(), starts_.begin());
    std::vector<uint32_t> next(starts_.begin(), starts_.end() - 1);
    placed_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      slots_.push_back(next[cells_[i]]++);
      Placed& placed = placed_[slots_[i]];
      std::copy_n(boxes + candidates[i] * 7, 7, placed.box);
      placed.reach = -Diagonal(placed.box) / 2;
    }
  }

  void Keep(size_t candidate) { placed_[slots_[candidate]].reach *= -1; }

  // Whether `candidate` has an IoU greater than `threshold` with one that was kept.
  bool AnyOverlaps(size_t candidate, double threshold) const {
    const Placed& own = placed_[slots_[candidate]];
    const auto any = [&](size_t first_cell, size_t last_cell) {
      for (uint32_t i = starts_[first_cell]; i < starts_[last_cell + 1]; ++i) {
        const Placed& other = placed_[i];
        if (other.reach < 0) continue;
        const float x = own.box[0] - other.box[0], y = own.box[1] - other.box[1], reach = other.reach - own.reach;
        // Most are too far away to touch; the margin covers rounding.
        if (x * x + y * y > reach * reach * 1.001f) continue;
        if (BevIou(own.box, other.box) > threshold) return true;
      }
      return false;
    };
    const size_t last = side() - 1, x = cells_[candidate] & last, y = cells_[candidate] >> bits_;
    for (const size_t up : {last, size_t{0}, size_t{1}}) {
      const size_t row = ((y + up) & last) << bits_;
      if (x > 0 && x < last) {
        if (any(row + x - 1, row + x + 1)) return true;
        continue;
      }
      for (const size_t right : {last, size_t{0}, size_t{1}}) {
        const size_t at = row + ((x + right) & last);
        if (any(at, at)) return true;
      }
    }
    return false;
  }

  // Fetches what AnyOverlaps(candidate) will read, in two steps as the second depends on the first.
  void PrefetchCells(size_t candidate) const {
    ForEachRow(candidate, [&](size_t cell) { __builtin_prefetch(&starts_[cell]); });
  }
  void PrefetchBoxes(size_t candidate) const {
    ForEachRow(candidate, [&](size_t cell) {
      const char* const first = reinterpret_cast<const char*>(placed_.data() + starts_[cell]);
      __builtin_prefetch(first);
      __builtin_prefetch(first + 64);
    });
  }

 private:
  struct Placed {
    float box[7];
    // Half of its diagonal; negative until it is kept.
    float reach;
  };

  static float Diagonal(const float* box) { return std::hypot(box[3], box[4]); }
  size_t side() const { return size_t{1} << bits_; }

  template <typename Body>
  void ForEachRow(size_t candidate, const Body& body) const {
    const size_t all = side() * side() - 1;
    for (const size_t step : {all - side(), size_t{0} - 1, side() - 1}) body((cells_[candidate] + step) & all);
  }

  int bits_ = 1;
  std::vector<uint32_t> cells_, slots_;  // By candidate.
  std::vector<uint32_t> starts_;         // By cell, of placed_.
  std::vector<Placed> placed_;
};

}  // namespace

std::vector<int64_t> RotatedNms(const float* boxes, const std::vector<int64_t>& order, double iou_threshold,
                                size_t post_max) {
  std::vector<int64_t> bounded, kept, kept_unbounded;
  for (const int64_t row : order) {
    if (IsBounded(boxes + row * 7)) bounded.push_back(row);
  }
  CandidateGrid grid(boxes, bounded);
  const auto overlaps_any_of = [&](int64_t row, const std::vector<int64_t>& others) {
    return std::any_of(others.begin(), others.end(),
                       [&](int64_t other) { return BevIou(boxes + row * 7, boxes + other * 7) > iou_threshold; });
  };
  size_t next = 0;  // Of `bounded`.
  for (const int64_t row : order) {
    if (kept.size() >= post_max) break;
    if (next == bounded.size() || bounded[next] != row) {
      if (overlaps_any_of(row, kept)) continue;
      kept_unbounded.push_back(row);
    } else {
      const size_t candidate = next++;
      if (candidate + 16 < bounded.size()) grid.PrefetchCells(candidate + 16);
      if (candidate + 8 < bounded.size()) grid.PrefetchBoxes(candidate + 8);
      if (grid.AnyOverlaps(candidate, iou_threshold) || overlaps_any_of(row, kept_unbounded)) continue;
      grid.Keep(candidate);
    }
    kept.push_back(row);
  }
  return kept;
}

}  // namespace kd
