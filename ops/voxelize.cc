#include "ops/voxelize.h"

#include <algorithm>
#include <cmath>

namespace kd {

std::array<int, 3> VoxelGrid::Cells() const {
  std::array<int, 3> cells;
  for (int axis = 0; axis < 3; ++axis) {
    cells[axis] = static_cast<int>(std::lround((range[axis + 3] - range[axis]) / voxel_size[axis]));
  }
  return cells;
}

namespace {

// Grids of up to so many cells are looked up by cell, larger ones by hash: a table of every cell would miss the cache
// at each point.
constexpr uint64_t kMaxDenseCells = uint64_t{1} << 21;

struct OpenedCell {
  uint64_t cell;
  int32_t count;
};

// Memory of one thread that calls reuse: fresh pages would cost more than the work.
struct Scratch {
  // Of the points inside, in order: row and flat cell.
  std::vector<int32_t> rows;
  std::vector<uint64_t> cells;
  // Where they go: voxel times the points per voxel, plus the slot there; -1 for points that are dropped.
  std::vector<int64_t> slots;
  std::vector<OpenedCell> opened;
  std::vector<int32_t> numbers;
};

void FindCells(const float* points, size_t num_points, int num_features, const VoxelGrid& grid, Scratch& scratch) {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));
  const std::array<int, 3> cells = grid.Cells();
  // The fourth lane is always inside.
  const Floats low = {grid.range[0], grid.range[1], grid.range[2], 0};
  const Floats size = {grid.voxel_size[0], grid.voxel_size[1], grid.voxel_size[2], 1};
  const Floats limit = {static_cast<float>(cells[0]), static_cast<float>(cells[1]), static_cast<float>(cells[2]), 1};
  scratch.rows.resize(num_points);
  scratch.cells.resize(num_points);
  size_t inside = 0;
  for (size_t i = 0; i < num_points; ++i) {
    const float* const point = points + i * num_features;
    const Floats at = (Floats{point[0], point[1], point[2], 0} - low) / size;
    // False for NaN. Of numbers from 0 on, truncation is the floor.
    const Ints fits = (at >= 0) & (at < limit);
    const Floats kept = fits ? at : Floats{};
    const Ints cell = __builtin_convertvector(kept, Ints);
    scratch.rows[inside] = static_cast<int32_t>(i);
    scratch.cells[inside] = (static_cast<uint64_t>(cell[2]) * cells[1] + cell[1]) * cells[0] + cell[0];
    // Without a branch: which points are outside cannot be foretold.
    inside += static_cast<size_t>(fits[0] & fits[1] & fits[2] & 1);
  }
  scratch.rows.resize(inside);
  scratch.cells.resize(inside);
}

// Where a cell's voxel number stands or will, in a table of numbers that are -1 at first.
class DensePlaces {
 public:
  DensePlaces(size_t, uint64_t num_cells) : size_(num_cells) {}
  size_t size() const { return size_; }
  size_t First(uint64_t cell) const { return cell; }
  // After a place that holds another cell.
  size_t Next(size_t place) const { return place; }

 private:
  size_t size_;
};

class HashedPlaces {
 public:
  HashedPlaces(size_t num_points, uint64_t) {
    // Room for a cell per point, and some more.
    while ((size_t{1} << bits_) < num_points + num_points / 4) ++bits_;
  }
  size_t size() const { return size_t{1} << bits_; }
  // Neighbours along x stand together, so that points of one place share a cache line.
  size_t First(uint64_t cell) const {
    return ((((cell >> 2) * 0x9E3779B97F4A7C15u) >> (66 - bits_)) << 2 | (cell & 3)) & (size() - 1);
  }
  size_t Next(size_t place) const { return (place + 1) & (size() - 1); }

 private:
  int bits_ = 4;
};

template <typename Places>
void AssignSlots(uint64_t num_cells, const VoxelGrid& grid, Scratch& scratch) {
  // Places are computed and fetched so many points before they are used.
  constexpr size_t kAhead = 16;
  const size_t num_points = scratch.cells.size();
  const Places table(num_points, num_cells);
  scratch.numbers.assign(table.size(), -1);
  scratch.slots.resize(num_points);
  scratch.opened.clear();
  scratch.opened.reserve(std::min<size_t>(num_points, grid.max_voxels));
  const uint64_t* const cells = scratch.cells.data();
  int64_t* const slots = scratch.slots.data();
  int32_t* const numbers = scratch.numbers.data();
  const auto most_voxels = static_cast<size_t>(grid.max_voxels);
  const int32_t most_points = grid.max_points_per_voxel;
  size_t places[kAhead];
  const auto fetch = [&](size_t i) {
    places[i % kAhead] = table.First(cells[i]);
    __builtin_prefetch(&numbers[places[i % kAhead]]);
  };
  for (size_t i = 0; i < std::min(kAhead, num_points); ++i) fetch(i);
  for (size_t i = 0; i < num_points; ++i) {
    size_t place = places[i % kAhead];
    if (i + kAhead < num_points) fetch(i + kAhead);
    int32_t number = numbers[place];
    while (number >= 0 && scratch.opened[number].cell != cells[i]) {
      place = table.Next(place);
      number = numbers[place];
    }
    slots[i] = -1;
    if (number < 0) {
      if (scratch.opened.size() >= most_voxels) continue;
      numbers[place] = number = static_cast<int32_t>(scratch.opened.size());
      scratch.opened.push_back({cells[i], 0});
    }
    int32_t& count = scratch.opened[number].count;
    if (count < most_points) slots[i] = static_cast<int64_t>(number) * most_points + count++;
  }
}

}  // namespace

Voxels Voxelize(const float* points, size_t num_points, int num_features, const VoxelGrid& grid) {
  const std::array<int, 3> cells = grid.Cells();
  const uint64_t num_cells = static_cast<uint64_t>(cells[0]) * cells[1] * cells[2];
  thread_local Scratch scratch;
  FindCells(points, num_points, num_features, grid, scratch);
  if (num_cells <= kMaxDenseCells) {
    AssignSlots<DensePlaces>(num_cells, grid, scratch);
  } else {
    AssignSlots<HashedPlaces>(num_cells, grid, scratch);
  }
  Voxels voxels;
  voxels.num_points.reserve(scratch.opened.size());
  voxels.coords.reserve(scratch.opened.size() * 3);
  for (const auto& [cell, count] : scratch.opened) {
    const uint64_t row = cell / cells[0];
    for (const uint64_t value : {row / cells[1], row % cells[1], cell % cells[0]})
      voxels.coords.push_back(static_cast<int32_t>(value));
    voxels.num_points.push_back(count);
  }
  voxels.points.resize(scratch.opened.size() * grid.max_points_per_voxel * num_features);
  for (size_t i = 0; i < scratch.slots.size(); ++i) {
    if (scratch.slots[i] < 0) continue;
    // A plain loop: a call for so few numbers costs more than they do.
    const float* const from = points + static_cast<int64_t>(scratch.rows[i]) * num_features;
    float* const to = voxels.points.data() + scratch.slots[i] * num_features;
    for (int f = 0; f < num_features; ++f) to[f] = from[f];
  }
  return voxels;
}

}  // namespace kd
