// Pillar feature encoders and the scatter to a bird's-eye-view map (detectors.md section 2.2).
#ifndef KD_MODELS_PILLAR_VFE_H_
#define KD_MODELS_PILLAR_VFE_H_

#include <array>
#include <vector>

#include "torch/torch.h"

namespace kd {

struct PillarVfeOptions {
  int64_t num_point_features = 4;
  std::vector<int64_t> num_filters = {64};
  bool with_distance = false;
  // False: x, y, z themselves are left out of the input.
  bool use_absolute_xyz = true;
  bool use_norm = true;
  double bn_eps = 1e-3;
  double bn_momentum = 0.01;
  std::array<float, 3> voxel_size{};
  std::array<float, 6> range{};

  // Columns that enter the first layer.
  int64_t input_width() const;
};

// Parameters pfn_layers.{i}.linear.weight and .norm.* (or .linear.bias without norm).
class PillarVfeImpl : public torch::nn::Module {
 public:
  explicit PillarVfeImpl(const PillarVfeOptions& options);

  // voxels V x P x F, num_points V, coords V x 4 (frame, z, y, x) -> V x C. Padded slots are zeroed before the first
  // layer but take part in batch norm and maximum.
  torch::Tensor forward(const torch::Tensor& voxels, const torch::Tensor& num_points, const torch::Tensor& coords);

  struct Pillars {
    torch::Tensor features;  // N x C
    torch::Tensor coords;    // N x 4: frame, 0, y, x
  };
  // DynamicPillarVFE: points N x (1 + F), the first column is the frame; `cells` along x and y. No caps, no padding;
  // points outside in x or y are dropped; pillars ascend by (frame, x, y).
  Pillars ForwardDynamic(const torch::Tensor& points, std::array<int64_t, 2> cells);

 private:
  // Input of the first layer: raw columns, offsets from the pillar's mean and centre; zero where not `used`.
  torch::Tensor Columns(const torch::Tensor& points, const torch::Tensor& mean, const torch::Tensor& centre,
                        const torch::Tensor& used) const;
  torch::Tensor RunLayer(size_t layer, const torch::Tensor& rows);

  const PillarVfeOptions options_;
  std::vector<torch::nn::Linear> linear_;
  std::vector<torch::nn::BatchNorm1d> norm_;
};
TORCH_MODULE(PillarVfe);

// features V x C at coords V x 4 (frame, z, y, x) -> batch x C x ny x nx, zero elsewhere; memory is channels-last.
torch::Tensor ScatterPillars(const torch::Tensor& features, const torch::Tensor& coords, int64_t batch, int64_t ny,
                             int64_t nx);

}  // namespace kd

#endif  // KD_MODELS_PILLAR_VFE_H_
