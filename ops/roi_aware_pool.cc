#include "ops/roi_aware_pool.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace kd {
namespace {

// A box, turned to its own axes. Comparisons and number types are those of OpenPCDet's kernel, so that the same points
// lie in.
class TurnedBox {
 public:
  explicit TurnedBox(const float* box)
      : centre_{box[0], box[1], box[2]},
        size_{box[3], box[4], box[5]},
        cos_(std::cos(-box[6])),
        sin_(std::sin(-box[6])) {}

  // Fills x, y, z along the box's axes if the point lies in.
  bool Holds(const float* point, std::array<float, 3>& local) const {
    const double margin = 1e-5f;
    local[2] = point[2] - centre_[2];
    if (std::abs(local[2]) > size_[2] / 2.0) return false;
    const float x = point[0] - centre_[0], y = point[1] - centre_[1];
    local[0] = x * cos_ + y * -sin_;
    local[1] = x * sin_ + y * cos_;
    return std::abs(local[0]) < size_[0] / 2.0 + margin && std::abs(local[1]) < size_[1] / 2.0 + margin;
  }

  // x slowest, z fastest.
  int32_t Cell(const std::array<float, 3>& local, int32_t cells) const {
    int32_t cell = 0;
    for (int axis = 0; axis < 3; ++axis) cell = cell * cells + CellAlong(axis, local[axis], cells);
    return cell;
  }

 private:
  int32_t CellAlong(int axis, float local, int32_t cells) const {
    const float at = (local + size_[axis] / 2) / (size_[axis] / static_cast<float>(cells));
    if (std::isnan(at)) return 0;
    // The kernel takes a negative number for a very large one. Only a box not
    // thicker than 1e-5 m times the number of cells has any.
    return at <= -1 || at >= static_cast<float>(cells) ? cells - 1 : static_cast<int32_t>(at);
  }

  const std::array<float, 3> centre_, size_;
  const float cos_, sin_;
};

// Cells of one box, and their points one after the other.
RoiCells CellsOfBox(const float* points, size_t num_points, const float* box, int32_t number, const RoiGrid& grid) {
  const TurnedBox turned(box);
  struct Held {
    int32_t cell;
    int64_t point;
  };
  std::vector<Held> held;
  std::vector<size_t> counts(static_cast<size_t>(grid.cells) * grid.cells * grid.cells);
  std::array<float, 3> local{};
  for (size_t i = 0; i < num_points; ++i) {
    if (!turned.Holds(points + i * 3, local)) continue;
    const int32_t cell = turned.Cell(local, grid.cells);
    if (counts[cell] == static_cast<size_t>(grid.max_points)) continue;
    ++counts[cell];
    held.push_back({cell, static_cast<int64_t>(i)});
  }
  RoiCells own;
  own.points.resize(held.size());
  // Where the next point of each cell goes.
  std::vector<size_t>& next = counts;
  size_t begin = 0;
  for (int32_t cell = 0; !held.empty() && cell < static_cast<int32_t>(counts.size()); ++cell) {
    const size_t end = begin + counts[cell];
    if (end > begin) {
      own.cells.push_back({.box = number,
                           .x = cell / (grid.cells * grid.cells),
                           .y = cell / grid.cells % grid.cells,
                           .z = cell % grid.cells,
                           .begin = begin,
                           .end = end});
    }
    next[cell] = begin;
    begin = end;
  }
  for (const Held& one : held) own.points[next[one.cell]++] = one.point;
  return own;
}

template <typename Pool>
std::vector<float> PoolCells(const RoiCells& cells, size_t channels, ParallelFor parallel, const Pool& pool) {
  std::vector<float> pooled(cells.cells.size() * channels);
  parallel(static_cast<int64_t>(cells.cells.size()), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) pool(cells.cells[i], &pooled[i * channels]);
  });
  return pooled;
}

}  // namespace

RoiCells SortIntoRoiCells(const float* points, size_t num_points, const float* boxes, size_t num_boxes,
                          const RoiGrid& grid, ParallelFor parallel) {
  std::vector<RoiCells> of_boxes(num_boxes);
  parallel(static_cast<int64_t>(num_boxes), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      of_boxes[b] = CellsOfBox(points, num_points, boxes + b * 7, static_cast<int32_t>(b), grid);
  });
  RoiCells all;
  for (const RoiCells& own : of_boxes) {
    for (RoiCell cell : own.cells) {
      cell.begin += all.points.size();
      cell.end += all.points.size();
      all.cells.push_back(cell);
    }
    all.points.insert(all.points.end(), own.points.begin(), own.points.end());
  }
  return all;
}

std::vector<float> AverageOfRoiCells(const RoiCells& cells, const float* features, size_t channels,
                                     ParallelFor parallel) {
  return PoolCells(cells, channels, parallel, [&](const RoiCell& cell, float* out) {
    for (size_t i = cell.begin; i < cell.end; ++i) {
      const float* const row = features + cells.points[i] * channels;
      for (size_t c = 0; c < channels; ++c) out[c] += row[c];
    }
    for (size_t c = 0; c < channels; ++c) out[c] /= static_cast<float>(cell.end - cell.begin);
  });
}

std::vector<float> MaximumOfRoiCells(const RoiCells& cells, const float* features, size_t channels,
                                     ParallelFor parallel) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  return PoolCells(cells, channels, parallel, [&](const RoiCell& cell, float* out) {
    std::fill_n(out, channels, kNone);
    for (size_t i = cell.begin; i < cell.end; ++i) {
      const float* const row = features + cells.points[i] * channels;
      for (size_t c = 0; c < channels; ++c) {
        if (row[c] > out[c]) out[c] = row[c];
      }
    }
    for (size_t c = 0; c < channels; ++c) {
      if (out[c] == kNone) out[c] = 0;
    }
  });
}

}  // namespace kd
