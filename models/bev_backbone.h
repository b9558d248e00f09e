// BaseBEVBackbone (detectors.md section 4), in its usual and its pruned ("flexible") form.
#ifndef KD_MODELS_BEV_BACKBONE_H_
#define KD_MODELS_BEV_BACKBONE_H_

#include <vector>

#include "torch/torch.h"

namespace kd {

struct BevBackboneOptions {
  int64_t in_channels = 64;
  // Per level: convolutions after the strided one, and stride of the first.
  std::vector<int64_t> layer_nums, layer_strides;
  // One width per convolution, all levels in order (layer_nums[i] + 1 each).
  std::vector<int64_t> conv_filters;
  // Per level; below 1 an ordinary convolution with stride round(1 / u).
  std::vector<double> upsample_strides;
  std::vector<int64_t> upsample_filters;
  double bn_eps = 1e-3;
  double bn_momentum = 0.01;
};

// The usual form has one width per level: repeats it for every convolution of the level.
std::vector<int64_t> WidthPerConvolution(const std::vector<int64_t>& layer_nums, const std::vector<int64_t>& filters);

// Parameters blocks.{i}.{1, 2, 4, 5, ...} and deblocks.{i}.{0, 1}.
class BevBackboneImpl : public torch::nn::Module {
 public:
  explicit BevBackboneImpl(const BevBackboneOptions& options);

  // B x C x H x W -> B x sum(upsample_filters) x H' x W'.
  torch::Tensor forward(torch::Tensor x);

 private:
  std::vector<torch::nn::Sequential> blocks_, deblocks_;
};
TORCH_MODULE(BevBackbone);

}  // namespace kd

#endif  // KD_MODELS_BEV_BACKBONE_H_
