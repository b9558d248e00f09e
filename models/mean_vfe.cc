#include "models/mean_vfe.h"

namespace kd {

torch::Tensor MeanVoxelFeatures(const torch::Tensor& voxels, const torch::Tensor& num_points) {
  return voxels.sum(1) / num_points.to(voxels.dtype()).clamp_min(1).unsqueeze(1);
}

MeanVoxels MeanPointsPerVoxel(const torch::Tensor& points, std::array<int64_t, 3> cells,
                              std::array<float, 3> voxel_size, std::array<float, 6> range) {
  const auto [nx, ny, nz] = cells;
  const torch::Tensor low = torch::tensor({range[0], range[1], range[2]}, points.options());
  const torch::Tensor size = torch::tensor({voxel_size[0], voxel_size[1], voxel_size[2]}, points.options());
  const torch::Tensor all_cells = torch::floor((points.slice(1, 1, 4) - low) / size).to(torch::kInt64);
  const torch::Tensor inside =
      ((all_cells >= 0) & (all_cells < torch::tensor({nx, ny, nz}, all_cells.options()))).all(1);
  const torch::Tensor kept = points.index({inside});
  const torch::Tensor cell = all_cells.index({inside});
  const torch::Tensor id =
      ((kept.select(1, 0).to(torch::kInt64) * nx + cell.select(1, 0)) * ny + cell.select(1, 1)) * nz +
      cell.select(1, 2);
  const auto [unique, inverse, counts] =
      torch::_unique2(id, /*sorted=*/true, /*return_inverse=*/true, /*return_counts=*/true);
  const torch::Tensor sums =
      torch::zeros({unique.size(0), points.size(1) - 1}, points.options()).index_add_(0, inverse, kept.slice(1, 1));
  const torch::Tensor z = unique.remainder(nz), rest = torch::floor_divide(unique, nz);
  const torch::Tensor y = rest.remainder(ny), column = torch::floor_divide(rest, ny);
  return {.features = sums / counts.to(points.dtype()).unsqueeze(1),
          .coords = torch::stack({torch::floor_divide(column, nx), z, y, column.remainder(nx)}, 1)};
}

}  // namespace kd
