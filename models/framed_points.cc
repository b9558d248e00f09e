#include "models/framed_points.h"

namespace kd {

FramedPoints SiteCentres(const SparseTensor& map, int64_t stride, const std::array<float, 3>& low,
                         const std::array<float, 3>& voxel_size) {
  FramedPoints points{.xyz = torch::empty({map.sites->size(), 3}), .features = map.features};
  points.starts.assign(map.sites->batch() + 1, 0);
  float* to = points.xyz.data_ptr<float>();
  for (const Site& site : map.sites->OnCpu().sites()) {
    const int32_t cell[3] = {site.x, site.y, site.z};
    for (int axis = 0; axis < 3; ++axis) {
      *to++ = (static_cast<float>(cell[axis]) + 0.5f) * voxel_size[axis] * static_cast<float>(stride) + low[axis];
    }
    ++points.starts[site.frame + 1];
  }
  for (size_t b = 1; b < points.starts.size(); ++b) points.starts[b] += points.starts[b - 1];
  return points;
}

void ReorderSites(FramedPoints& points, const torch::Tensor& coords, const SparseShape& shape) {
  const auto c = [&](int64_t column) { return coords.select(1, column).to(torch::kInt64); };
  const torch::Tensor keys = ((c(0) * shape[0] + c(1)) * shape[1] + c(2)) * shape[2] + c(3);
  const torch::Tensor place = keys.argsort().argsort();
  points.xyz = points.xyz.index_select(0, place.cpu());
  points.features = points.features.index_select(0, place);
}

}  // namespace kd
