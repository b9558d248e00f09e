#include "ops/voxelize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

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

// Points, voxels or runs that one thread takes at once.
constexpr size_t kPart = 4096;
int64_t Parts(size_t count) { return static_cast<int64_t>((count + kPart - 1) / kPart); }

// No cell: there are less than 2^32.
constexpr uint32_t kOutside = ~uint32_t{0};

// Points that follow one another in one cell, as a beam that sweeps over a surface leaves them. Only whole runs are
// numbered, which one thread must do.
struct CellRun {
  CellRun() {}
  int32_t begin, end;  // rows
  uint32_t cell;       // flat
};

// Flat cells of the points [begin, end), kOutside for those outside. kWhole: a point has four numbers that can be read
// at once.
template <bool kWhole>
void FindCells(const float* points, size_t begin, size_t end, int num_features, const VoxelGrid& grid,
               uint32_t* flat_cells) {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));
  const std::array<int, 3> cells = grid.Cells();
  const Floats low = {grid.range[0], grid.range[1], grid.range[2], 0};
  const Floats size = {grid.voxel_size[0], grid.voxel_size[1], grid.voxel_size[2], 1};
  // Nothing is below the last: the fourth lane is zeroed.
  const Floats limit = {static_cast<float>(cells[0]), static_cast<float>(cells[1]), static_cast<float>(cells[2]), 0};
  const auto width = static_cast<uint32_t>(cells[0]), height = static_cast<uint32_t>(cells[1]);
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
    const uint32_t flat = (static_cast<uint32_t>(cell[2]) * height + static_cast<uint32_t>(cell[1])) * width +
                          static_cast<uint32_t>(cell[0]);
    flat_cells[i - begin] = flat | ~static_cast<uint32_t>(fits[0] & fits[1] & fits[2]);
  }
}

// Writes the runs of the points [begin, end) and returns how many they are. There is room for one a point.
template <bool kWhole>
size_t FindRuns(const float* points, size_t begin, size_t end, int num_features, const VoxelGrid& grid, CellRun* runs) {
  std::array<uint32_t, kPart + 2> cells;
  const size_t count = end - begin;
  cells[0] = cells[count + 1] = kOutside;
  FindCells<kWhole>(points, begin, end, num_features, grid, &cells[1]);
  // Without a branch: where a run ends cannot be foretold.
  size_t begun = 0, ended = 0;
  for (size_t i = 1; i <= count; ++i) {
    const bool inside = cells[i] != kOutside;
    runs[begun].begin = static_cast<int32_t>(begin + i - 1);
    runs[begun].cell = cells[i];
    begun += inside & (cells[i] != cells[i - 1]);
    runs[ended].end = static_cast<int32_t>(begin + i);
    ended += inside & (cells[i] != cells[i + 1]);
  }
  return begun;
}

// Tables of the numbers of cells, which say nothing of cells that have none. They are kept from call to call: a number
// of an earlier call lies below first_ and counts as none, for to empty a table costs as much as to fill it.
class NumberTable {
 public:
  // After a call that gave `count` numbers.
  void Forget(int32_t count) { first_ += count; }

 protected:
  // Whether so many numbers are left; otherwise the table must be emptied, and counts from 0 again.
  bool HasRoom(int32_t most_numbers) {
    if (first_ < std::numeric_limits<int32_t>::max() - most_numbers) return true;
    first_ = 0;
    return false;
  }
  int32_t first_ = 0;
};

// One number per cell of the grid.
class DenseTable : public NumberTable {
 public:
  void Prepare(int32_t most_numbers, uint64_t num_cells) {
    if (!HasRoom(most_numbers)) numbers_.clear();
    if (numbers_.size() < num_cells) numbers_.resize(num_cells, -1);
  }
  // Where the search for a cell starts.
  size_t Place(uint32_t cell) const { return cell; }
  const void* Address(size_t place) const { return &numbers_[place]; }
  // The cell's number, negative if it has none. `place` becomes where it is to be put.
  int32_t Find(uint32_t, size_t& place) const { return numbers_[place] - first_; }
  void Put(uint32_t, size_t place, int32_t number) { numbers_[place] = first_ + number; }

 private:
  std::vector<int32_t> numbers_;
};

// The same by hash of the cell.
class HashTable : public NumberTable {
 public:
  void Prepare(int32_t most_numbers, uint64_t) {
    if (!HasRoom(most_numbers)) entries_.clear();
    // Half empty at least, so that searches are short.
    for (bits_ = 4; (size_t{1} << bits_) < 2 * static_cast<size_t>(most_numbers);) ++bits_;
    if (entries_.size() < size_t{1} << bits_) entries_.resize(size_t{1} << bits_);
  }
  size_t Place(uint32_t cell) const { return (cell * 0xD6E8FEB86659FD93u) >> (64 - bits_); }
  const void* Address(size_t place) const { return &entries_[place]; }
  int32_t Find(uint32_t cell, size_t& place) const {
    // One branch for both: whether a place is free cannot be foretold, but rarely has it another cell.
    while ((entries_[place].number >= first_) & (entries_[place].cell != cell)) {
      place = (place + 1) & ((size_t{1} << bits_) - 1);
    }
    return entries_[place].number - first_;
  }
  void Put(uint32_t cell, size_t place, int32_t number) { entries_[place] = {cell, first_ + number}; }

 private:
  struct Entry {
    uint32_t cell = kOutside;
    int32_t number = -1;
  };
  std::vector<Entry> entries_;
  int bits_ = 0;
};

// Memory of one thread that calls reuse: fresh pages would cost more than the work.
struct Scratch {
  // Of part p, in order, from p * kPart on: num_runs[p] of them.
  std::vector<CellRun> runs;
  std::vector<size_t> num_runs;
  DenseTable dense;
  HashTable hashed;
  // Flat cells of the voxels.
  std::vector<uint32_t> opened;
};

template <typename Table>
void NumberCells(uint64_t num_cells, const VoxelGrid& grid, Table& table, Scratch& scratch, Voxels& voxels) {
  // Places are fetched so many runs before they are used.
  constexpr int64_t kAhead = 16;
  size_t num_runs = 0;
  for (const size_t runs : scratch.num_runs) num_runs += runs;
  table.Prepare(static_cast<int32_t>(num_runs), num_cells);
  // One more than can be opened, so that a voxel can be written before it is known whether it is opened.
  const auto most_voxels = static_cast<int32_t>(std::min<size_t>(num_runs, grid.max_voxels));
  scratch.opened.resize(most_voxels + 1);
  voxels.num_points.assign(most_voxels + 1, 0);
  voxels.kept.resize(num_runs);
  int32_t* const counts = voxels.num_points.data();
  uint32_t* const opened = scratch.opened.data();
  KeptRun* kept = voxels.kept.data();
  const int32_t most_points = grid.max_points_per_voxel;
  int32_t num_voxels = 0;
  for (size_t part = 0; part < scratch.num_runs.size(); ++part) {
    const CellRun *run = &scratch.runs[part * kPart], *const end = run + scratch.num_runs[part];
    for (; run != end; ++run) {
      __builtin_prefetch(table.Address(table.Place(run[std::min(kAhead, end - run - 1)].cell)));
      // Whether a run opens a voxel cannot be foretold, so both cases take one way without a branch.
      size_t place = table.Place(run->cell);
      int32_t number = table.Find(run->cell, place);
      const bool opens = number < 0;
      number = opens ? num_voxels : number;
      if (number == most_voxels) continue;
      opened[number] = run->cell;
      table.Put(run->cell, place, number);
      num_voxels += opens;
      const int32_t count = counts[number], keeps = std::min(run->end - run->begin, most_points - count);
      counts[number] = count + keeps;
      kept->row = run->begin;
      kept->voxel = number;
      kept->place = count;
      kept->count = keeps;
      kept += keeps > 0;
    }
  }
  table.Forget(num_voxels);
  voxels.num_points.resize(num_voxels);
  voxels.kept.resize(kept - voxels.kept.data());
}

// The points of the runs [begin, end). kFeatures numbers per point, or num_features where it is 0.
template <int kFeatures>
void CopyPoints(const Voxels& voxels, size_t begin, size_t end, const float* points, int num_features,
                int64_t max_points_per_voxel, float* out) {
  const int64_t features = kFeatures == 0 ? num_features : kFeatures;
  for (size_t i = begin; i < end; ++i) {
    const KeptRun& run = voxels.kept[i];
    const float* const from = points + run.row * features;
    float* const to = out + (run.voxel * max_points_per_voxel + run.place) * features;
    const auto copy = [&](int64_t n) {
      std::memcpy(to + n * features, from + n * features, static_cast<size_t>(features) * sizeof(float));
    };
    // How long a run is cannot be foretold: to copy the first point twice is cheaper than a branch.
    copy(0);
    copy(std::min(1, run.count - 1));
    for (int64_t n = 2; n < run.count; ++n) copy(n);
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
  scratch.runs.resize(num_points);
  scratch.num_runs.resize(Parts(num_points));
  const auto find_runs = num_features >= 4 ? FindRuns<true> : FindRuns<false>;
  ForEachPart(num_points, parallel, [&](size_t begin, size_t end) {
    scratch.num_runs[begin / kPart] = find_runs(points, begin, end, num_features, grid, &scratch.runs[begin]);
  });
  Voxels voxels;
  if (num_cells <= kMaxDenseCells) {
    NumberCells(num_cells, grid, scratch.dense, scratch, voxels);
  } else {
    NumberCells(num_cells, grid, scratch.hashed, scratch, voxels);
  }
  voxels.coords.resize(voxels.size() * 3);
  ForEachPart(voxels.size(), parallel, [&](size_t begin, size_t end) {
    const auto width = static_cast<uint32_t>(cells[0]), height = static_cast<uint32_t>(cells[1]);
    // Products instead of quotients: they are right for numbers below 2^32.
    const double per_width = 1.0 / width, per_height = 1.0 / height;
    for (size_t voxel = begin; voxel < end; ++voxel) {
      const uint32_t cell = scratch.opened[voxel];
      const auto row = static_cast<uint32_t>((cell + 0.5) * per_width);
      const auto z = static_cast<uint32_t>((row + 0.5) * per_height);
      voxels.coords[voxel * 3] = static_cast<int32_t>(z);
      voxels.coords[voxel * 3 + 1] = static_cast<int32_t>(row - z * height);
      voxels.coords[voxel * 3 + 2] = static_cast<int32_t>(cell - row * width);
    }
  });
  return voxels;
}

void CopyVoxelPoints(const Voxels& voxels, const float* points, int num_features, int max_points_per_voxel, float* out,
                     ParallelFor parallel) {
  const auto copy = num_features == 4 ? CopyPoints<4> : num_features == 5 ? CopyPoints<5> : CopyPoints<0>;
  ForEachPart(voxels.size(), parallel, [&](size_t begin, size_t end) {
    const int64_t whole = static_cast<int64_t>(max_points_per_voxel) * num_features;
    std::fill(out + begin * whole, out + end * whole, 0.0f);
  });
  ForEachPart(voxels.kept.size(), parallel, [&](size_t begin, size_t end) {
    copy(voxels, begin, end, points, num_features, max_points_per_voxel, out);
  });
}

}  // namespace kd
