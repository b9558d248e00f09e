// Voxel feature encoders without parameters (detectors.md section 2.2).
#ifndef KD_MODELS_MEAN_VFE_H_
#define KD_MODELS_MEAN_VFE_H_

#include <array>

#include "torch/torch.h"

namespace kd {

// MeanVFE: voxels V x P x F (zero padded), num_points V -> V x F, the sum over points / max(num_points, 1).
torch::Tensor MeanVoxelFeatures(const torch::Tensor& voxels, const torch::Tensor& num_points);

struct MeanVoxels {
  torch::Tensor features;  // N x F
  torch::Tensor coords;    // N x 4 int64: frame, z, y, x
};
// DynamicMeanVFE: points N x (1 + F), the first column is the frame; cells, sizes and range along x, y, z. No caps;
// points outside are dropped; voxels ascend by (frame, x, y, z).
MeanVoxels MeanPointsPerVoxel(const torch::Tensor& points, std::array<int64_t, 3> cells,
                              std::array<float, 3> voxel_size, std::array<float, 6> range);

}  // namespace kd

#endif  // KD_MODELS_MEAN_VFE_H_
