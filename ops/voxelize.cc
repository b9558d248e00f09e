#include "ops/voxelize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

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

// Points, voxels or kept points that one thread takes at once.
constexpr size_t kPart = 8192;
int64_t Parts(size_t count) { return static_cast<int64_t>((count + kPart - 1) / kPart); }

// Memory of one thread that calls reuse: fresh pages would cost more than the work.
struct Scratch {
  // Of the points inside, in order: row and flat cell. Those of part p start at p * kPart, inside[p] of them.
  std::vector<int32_t> rows;
  std::vector<uint32_t> cells;
  std::vector<size_t> inside;
  // Where the search for the cell's number starts, of each of them.
  std::vector<uint32_t> places;
  // Flat cells of the voxels, and the voxels' numbers by cell or hash of it.
  std::vector<uint32_t> opened;
  std::vector<int32_t> numbers;
};

// Writes the rows and cells of those of the points [begin, end) that are inside, and returns how many they are. kWhole:
// a point has four numbers that can be read at once.
template <bool kWhole>
size_t FindCells(const float* points, size_t begin, size_t end, int num_features, const VoxelGrid& grid, int32_t* rows,
                 uint32_t* flat_cells) {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));
  const std::array<int, 3> cells = grid.Cells();
  const Floats low = {grid.range[0], grid.range[1], grid.range[2], 0};
  const Floats size = {grid.voxel_size[0], grid.voxel_size[1], grid.voxel_size[2], 1};
  // Nothing is below the last: the fourth lane is zeroed.
  const Floats limit = {static_cast<float>(cells[0]), static_cast<float>(cells[1]), static_cast<float>(cells[2]), 0};
  const auto width = static_cast<uint32_t>(cells[0]), height = static_cast<uint32_t>(cells[1]);
  size_t inside = 0;
  for (size_t i = begin; i < end; ++i) {
    const float* const point = points + i * num_features;
    Floats read;
    if constexpr (kWhole) {
      std::memcpy(&read, point, sizeof(read));
    } else {
      read = Floats{point[0], point[1], point[2], 0};
    }
    const Floats at = (read - low) / size;
    // False for NaN. Of numbers from 0 on, truncation is the floor.
    const Ints fits = (at >= 0) & (at < limit);
    const Ints cell = __builtin_convertvector(fits ? at : Floats{}, Ints);
    rows[inside] = static_cast<int32_t>(i);
    flat_cells[inside] = (static_cast<uint32_t>(cell[2]) * height + static_cast<uint32_t>(cell[1])) * width +
                         static_cast<uint32_t>(cell[0]);
    // Without a branch: which points are outside cannot be foretold.
    inside += static_cast<size_t>(fits[0] & fits[1] & fits[2] & 1);
  }
  return inside;
}

// Where a cell's voxel number stands or will, in a table of numbers that are -1 at first.
class DensePlaces {
 public:
  DensePlaces(size_t, uint64_t num_cells) : size_(num_cells) {}
  size_t size() const { return size_; }
  size_t First(uint32_t cell) const { return cell; }
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
  size_t First(uint32_t cell) const {
    return ((((cell >> 2) * 0x9E3779B97F4A7C15u) >> (66 - bits_)) << 2 | (cell & 3)) & (size() - 1);
  }
  size_t Next(size_t place) const { return (place + 1) & (size() - 1); }

 private:
  int bits_ = 4;
};

template <typename Places>
void AssignSlots(uint64_t num_cells, const VoxelGrid& grid, ParallelFor parallel, Scratch& scratch, Voxels& voxels) {
  // Places are fetched so many points before they are used.
  constexpr size_t kAhead = 16;
  size_t num_points = 0;
  for (const size_t inside : scratch.inside) num_points += inside;
  const Places table(num_points, num_cells);
  scratch.numbers.assign(table.size(), -1);
  scratch.places.resize(scratch.cells.size());
  parallel(static_cast<int64_t>(scratch.inside.size()), [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const size_t begin = part * kPart, end = begin + scratch.inside[part];
      for (size_t i = begin; i < end; ++i) scratch.places[i] = static_cast<uint32_t>(table.First(scratch.cells[i]));
    }
  });
  // One more than can be opened, so that a voxel can be written before it is known whether it is opened.
  const auto most_voxels = static_cast<int32_t>(std::min<size_t>(num_points, grid.max_voxels));
  scratch.opened.resize(most_voxels + 1);
  voxels.num_points.assign(most_voxels + 1, 0);
  voxels.kept.resize(num_points);
  const uint32_t *const cells = scratch.cells.data(), *const places = scratch.places.data();
  int32_t *const numbers = scratch.numbers.data(), *const counts = voxels.num_points.data();
  uint32_t* const opened = scratch.opened.data();
  const int32_t most_points = grid.max_points_per_voxel;
  int32_t num_voxels = 0;
  size_t kept = 0;
  // Whether a point opens a voxel cannot be foretold, so both cases take one way without a branch.
  const auto assign = [&](size_t i, size_t place) {
    int32_t number = numbers[place];
    while (number >= 0 && opened[number] != cells[i]) {
      place = table.Next(place);
      number = numbers[place];
    }
    const bool opens = number < 0;
    number = opens ? num_voxels : number;
    opened[number] = cells[i];
    if (number == most_voxels) return;
    numbers[place] = number;
    num_voxels += opens;
    const int32_t count = counts[number];
    const bool keeps = count < most_points;
    counts[number] = count + keeps;
    KeptPoint& point = voxels.kept[kept];
    point.row = scratch.rows[i];
    point.voxel = number;
    point.place = count;
    kept += keeps;
  };
  for (size_t part = 0; part < scratch.inside.size(); ++part) {
    const size_t begin = part * kPart, end = begin + scratch.inside[part];
    for (size_t i = begin; i < end; ++i) {
      __builtin_prefetch(&numbers[places[std::min(i + kAhead, end - 1)]]);
      assign(i, places[i]);
    }
  }
  voxels.num_points.resize(num_voxels);
  voxels.kept.resize(kept);
}

// How many voxels the first `count` kept points opened.
int64_t OpenedBy(const std::vector<KeptPoint>& kept, size_t count) {
  while (count > 0 && kept[count - 1].place != 0) --count;
  return count == 0 ? 0 : kept[count - 1].voxel + 1;
}

// The kept points [begin, end) and zeros behind the points of the voxels that they open. kFeatures numbers per point,
// or num_features where it is 0.
template <int kFeatures>
void CopyPoints(const Voxels& voxels, size_t begin, size_t end, const float* points, int num_features,
                int64_t max_points_per_voxel, float* out) {
  const int64_t features = kFeatures == 0 ? num_features : kFeatures, whole = max_points_per_voxel * features;
  const int64_t last = OpenedBy(voxels.kept, end);
  for (int64_t voxel = OpenedBy(voxels.kept, begin); voxel < last; ++voxel) {
    std::fill(out + voxel * whole + voxels.num_points[voxel] * features, out + (voxel + 1) * whole, 0.0f);
  }
  for (size_t i = begin; i < end; ++i) {
    const KeptPoint& point = voxels.kept[i];
    const float* const from = points + point.row * features;
    float* const to = out + point.voxel * whole + point.place * features;
    for (int64_t f = 0; f < features; ++f) to[f] = from[f];
  }
}

// Calls body(begin, end) for the parts of [0, count).
void ForEachPart(size_t count, ParallelFor parallel, absl::FunctionRef<void(size_t, size_t)> body) {
  parallel(Parts(count), [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) body(part * kPart, std::min((part + 1) * kPart, count));
  });
}

}  // namespace

Voxels Voxelize(const float* points, size_t num_points, int num_features, const VoxelGrid& grid, ParallelFor parallel) {
  const std::array<int, 3> cells = grid.Cells();
  const uint64_t num_cells = static_cast<uint64_t>(cells[0]) * cells[1] * cells[2];
  thread_local Scratch scratch_of_thread;
  Scratch& scratch = scratch_of_thread;
  scratch.rows.resize(num_points);
  scratch.cells.resize(num_points);
  scratch.inside.resize(Parts(num_points));
  const auto find_cells = num_features >= 4 ? FindCells<true> : FindCells<false>;
  ForEachPart(num_points, parallel, [&](size_t begin, size_t end) {
    scratch.inside[begin / kPart] =
        find_cells(points, begin, end, num_features, grid, &scratch.rows[begin], &scratch.cells[begin]);
  });
  Voxels voxels;
  (num_cells <= kMaxDenseCells ? AssignSlots<DensePlaces> : AssignSlots<HashedPlaces>)(num_cells, grid, parallel,
                                                                                       scratch, voxels);
  voxels.coords.resize(voxels.size() * 3);
  ForEachPart(voxels.size(), parallel, [&](size_t begin, size_t end) {
    const auto width = static_cast<uint32_t>(cells[0]), height = static_cast<uint32_t>(cells[1]);
    for (size_t voxel = begin; voxel < end; ++voxel) {
      const uint32_t row = scratch.opened[voxel] / width;
      voxels.coords[voxel * 3] = static_cast<int32_t>(row / height);
      voxels.coords[voxel * 3 + 1] = static_cast<int32_t>(row % height);
      voxels.coords[voxel * 3 + 2] = static_cast<int32_t>(scratch.opened[voxel] % width);
    }
  });
  return voxels;
}

void CopyVoxelPoints(const Voxels& voxels, const float* points, int num_features, int max_points_per_voxel, float* out,
                     ParallelFor parallel) {
  const auto copy = num_features == 4 ? CopyPoints<4> : num_features == 5 ? CopyPoints<5> : CopyPoints<0>;
  ForEachPart(voxels.kept.size(), parallel, [&](size_t begin, size_t end) {
    copy(voxels, begin, end, points, num_features, max_points_per_voxel, out);
  });
}

}  // namespace kd
