// Points of several frames in one table.
#ifndef KD_MODELS_FRAMED_POINTS_H_
#define KD_MODELS_FRAMED_POINTS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "models/sparse_conv.h"
#include "torch/torch.h"

namespace kd {

// Points of all frames in order, rows [starts[b], starts[b + 1]) of frame b.
struct FramedPoints {
  torch::Tensor xyz;       // N x 3, contiguous, on the CPU
  torch::Tensor features;  // N x C
  std::vector<int64_t> starts;
};

// The centres of a map's sites with their features, in the order of the sites. A site is `stride` voxels of
// `voxel_size` (x, y, z) along each axis; the grid starts at `low`.
FramedPoints SiteCentres(const SparseTensor& map, int64_t stride, const std::array<float, 3>& low,
                         const std::array<float, 3>& voxel_size);

// Brings sorted sites of a grid of `shape` into the order of `coords` (N x 4: frame, z, y, x), which names the same
// ones, frame by frame. OpenPCDet keeps voxels in the order in which they were made; it tells which of too many points
// are taken.
void ReorderSites(FramedPoints& points, const torch::Tensor& coords, const SparseShape& shape);

}  // namespace kd

#endif  // KD_MODELS_FRAMED_POINTS_H_
