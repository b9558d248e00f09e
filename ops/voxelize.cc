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

constexpr uint64_t kOutside = ~uint64_t{0};
// Grids of up to so many cells are looked up by cell, larger ones by hash: a table of every cell would miss the cache at each
// point.
constexpr uint64_t kMaxDenseCells = uint64_t{1} << 21;

// Memory of one thread that calls reuse: fresh pages would cost more than the work.
struct Scratch {
  std::vector<uint64_t> flat, opened;
  std::vector<int64_t> slots;
  std::vector<int32_t> numbers;
};

// Flat cell of every point, kOutside for those that no cell holds.
void FindCells(const float* points, size_t num_points, int num_features, const VoxelGrid& grid, std::vector<uint64_t>& flat) {
  const std::array<int, 3> cells = grid.Cells();
  const float limit[3] = {static_cast<float>(cells[0]), static_cast<float>(cells[1]), static_cast<float>(cells[2])};
  flat.resize(num_points);
  for (size_t i = 0; i < num_points; ++i) {
    const float* const point = points + i * num_features;
    float at[3];
    for (int axis = 0; axis < 3; ++axis) at[axis] = (point[axis] - grid.range[axis]) / grid.voxel_size[axis];
    // All false for NaN. Of numbers from 0 on, truncation is the floor.
    const bool inside = at[0] >= 0 && at[0] < limit[0] && at[1] >= 0 && at[1] < limit[1] && at[2] >= 0 && at[2] < limit[2];
    // Cells are fewer than 2^31 along an axis.
    const auto cell = [&](int axis) { return static_cast<uint64_t>(static_cast<int32_t>(at[axis])); };
    flat[i] = inside ? (cell(2) * cells[1] + cell(1)) * cells[0] + cell(0) : kOutside;
  }
}

// Voxel numbers by flat cell; -1 at first sight. A place is where a cell's number stands or will.
class DenseNumbers {
 public:
  DenseNumbers(size_t, uint64_t num_cells, Scratch& scratch) {
    scratch.numbers.assign(num_cells, -1);
    numbers_ = scratch.numbers.data();
  }
  size_t Place(uint64_t cell) const { return cell; }
  void Prefetch(size_t) const {}
  int32_t& Number(uint64_t, size_t place) { return numbers_[place]; }

 private:
  int32_t* numbers_;
};

class HashedNumbers {
 public:
  HashedNumbers(size_t num_points, uint64_t, Scratch& scratch) : opened_(scratch.opened) {
    int bits = 4;
    // Room for a cell per point, and some more.
    while ((size_t{1} << bits) < num_points + num_points / 4) ++bits;
    scratch.numbers.assign(size_t{1} << bits, -1);
    numbers_ = scratch.numbers.data();
    mask_ = (size_t{1} << bits) - 1;
    shift_ = 64 + kTogether - bits;
  }
  // Neighbours along x stand together, so that points of one place share a cache line.
  size_t Place(uint64_t cell) const {
    constexpr uint64_t kWithin = (1 << kTogether) - 1;
    return (((cell >> kTogether) * 0x9E3779B97F4A7C15u) >> shift_ << kTogether | (cell & kWithin)) & mask_;
  }
  void Prefetch(size_t place) const { __builtin_prefetch(&numbers_[place]); }
  int32_t& Number(uint64_t cell, size_t place) {
    while (numbers_[place] >= 0 && opened_[numbers_[place]] != cell) place = (place + 1) & mask_;
    return numbers_[place];
  }

 private:
  static constexpr int kTogether = 3;
  // Cells by number: the table holds numbers alone, so that more of it stays in the cache.
  const std::vector<uint64_t>& opened_;
  int32_t* numbers_;
  size_t mask_;
  int shift_;
};

// Where each point goes: its voxel times the points per voxel, plus its slot there; -1 for points that are dropped.
template <typename Numbers>
void AssignSlots(uint64_t num_cells, const VoxelGrid& grid, Scratch& scratch, std::vector<int32_t>& counts) {
  // Places are computed and fetched so many points before they are used.
  constexpr size_t kAhead = 16;
  const size_t num_points = scratch.flat.size();
  Numbers numbers(num_points, num_cells, scratch);
  scratch.slots.resize(num_points);
  scratch.opened.clear();
  const uint64_t* const flat = scratch.flat.data();
  int64_t* const slots = scratch.slots.data();
  const auto most_voxels = static_cast<size_t>(grid.max_voxels);
  const int32_t most_points = grid.max_points_per_voxel;
  size_t places[kAhead];
  const auto fetch = [&](size_t i) {
    places[i % kAhead] = numbers.Place(flat[i]);
    numbers.Prefetch(places[i % kAhead]);
  };
  for (size_t i = 0; i < std::min(kAhead, num_points); ++i) fetch(i);
  for (size_t i = 0; i < num_points; ++i) {
    const size_t place = places[i % kAhead];
    if (i + kAhead < num_points) fetch(i + kAhead);
    slots[i] = -1;
    if (flat[i] == kOutside) continue;
    int32_t& number = numbers.Number(flat[i], place);
    if (number < 0) {
      if (counts.size() >= most_voxels) continue;
      number = static_cast<int32_t>(counts.size());
      scratch.opened.push_back(flat[i]);
      counts.push_back(0);
    }
    int32_t& count = counts[number];
    if (count < most_points) slots[i] = static_cast<int64_t>(number) * most_points + count++;
  }
}

}  // namespace

Voxels Voxelize(const float* points, size_t num_points, int num_features, const VoxelGrid& grid) {
  const std::array<int, 3> cells = grid.Cells();
  const uint64_t num_cells = static_cast<uint64_t>(cells[0]) * cells[1] * cells[2];
  thread_local Scratch scratch;
  FindCells(points, num_points, num_features, grid, scratch.flat);
  Voxels voxels;
  if (num_cells <= kMaxDenseCells) {
    AssignSlots<DenseNumbers>(num_cells, grid, scratch, voxels.num_points);
  } else {
    AssignSlots<HashedNumbers>(num_cells, grid, scratch, voxels.num_points);
  }
  const std::vector<uint64_t>& opened = scratch.opened;
  const std::vector<int64_t>& slots = scratch.slots;
  voxels.coords.reserve(opened.size() * 3);
  for (const uint64_t cell : opened) {
    const uint64_t row = cell / cells[0];
    for (const uint64_t value : {row / cells[1], row % cells[1], cell % cells[0]}) voxels.coords.push_back(static_cast<int32_t>(value));
  }
  voxels.points.resize(opened.size() * grid.max_points_per_voxel * num_features);
  for (size_t i = 0; i < num_points; ++i) {
    if (slots[i] < 0) continue;
    // A plain loop: a call for so few numbers costs more than they do.
    const float* const from = points + i * num_features;
    float* const to = voxels.points.data() + slots[i] * num_features;
    for (int f = 0; f < num_features; ++f) to[f] = from[f];
  }
  return voxels;
}

}  // namespace kd
