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

Voxels Voxelize(const float* points, size_t num_points, int num_features, const VoxelGrid& grid) {
  const std::array<int, 3> cells = grid.Cells();
  // Voxel number + 1 of every cell, kept between calls of a thread and cleared cell by cell.
  thread_local std::vector<int32_t> number_of_cell;
  const size_t num_cells = static_cast<size_t>(cells[0]) * cells[1] * cells[2];
  if (number_of_cell.size() < num_cells) number_of_cell.assign(num_cells, 0);

  Voxels voxels;
  std::vector<size_t> opened;
  const size_t row = static_cast<size_t>(grid.max_points_per_voxel) * num_features;
  for (size_t i = 0; i < num_points; ++i) {
    const float* point = points + i * num_features;
    int cell[3];
    bool inside = true;
    for (int axis = 0; axis < 3; ++axis) {
      const float position = std::floor((point[axis] - grid.range[axis]) / grid.voxel_size[axis]);
      // Also false for NaN.
      inside = inside && position >= 0 && position < static_cast<float>(cells[axis]);
      cell[axis] = inside ? static_cast<int>(position) : 0;
    }
    if (!inside) continue;
    const size_t flat = (static_cast<size_t>(cell[2]) * cells[1] + cell[1]) * cells[0] + cell[0];
    int32_t number = number_of_cell[flat] - 1;
    if (number < 0) {
      if (voxels.num_points.size() >= static_cast<size_t>(grid.max_voxels)) continue;
      number = static_cast<int32_t>(voxels.num_points.size());
      number_of_cell[flat] = number + 1;
      opened.push_back(flat);
      voxels.num_points.push_back(0);
      voxels.coords.insert(voxels.coords.end(), {cell[2], cell[1], cell[0]});
      voxels.points.resize(voxels.points.size() + row, 0.0f);
    }
    int32_t& count = voxels.num_points[number];
    if (count >= grid.max_points_per_voxel) continue;
    std::copy_n(point, num_features, voxels.points.begin() + number * row + static_cast<size_t>(count) * num_features);
    ++count;
  }
  for (const size_t flat : opened) number_of_cell[flat] = 0;
  return voxels;
}

}  // namespace kd
