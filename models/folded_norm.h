// Batch norm folded into the convolution before it, where nothing is learnt: a map is written once instead of thrice.
#ifndef KD_MODELS_FOLDED_NORM_H_
#define KD_MODELS_FOLDED_NORM_H_

#include "torch/torch.h"

namespace kd {

// In evaluation mode and without gradients.
bool MayFold(const torch::nn::Module& module);

// A layer's weight and bias with the norm after it, as one layer. `outputs`: the axis of the weight that counts output
// channels; `bias` may be undefined.
struct FoldedLayer {
  torch::Tensor weight, bias;
};
template <typename NormImpl>
FoldedLayer FoldNorm(const torch::Tensor& weight, const torch::Tensor& bias, const NormImpl& norm, int64_t outputs) {
  const torch::Tensor scale = norm.weight / torch::sqrt(norm.running_var + norm.options.eps());
  std::vector<int64_t> shape(weight.dim(), 1);
  shape[outputs] = -1;
  const torch::Tensor mean = bias.defined() ? norm.running_mean - bias : norm.running_mean;
  return {.weight = weight * scale.view(shape), .bias = norm.bias - mean * scale};
}

// `layers` (convolutions, each with or without norm and rectifier after it, and sequences of these) applied to `x`, to
// rounding as layers->forward(x). Where MayFold().
torch::Tensor ForwardFolded(const torch::nn::Module& layers, torch::Tensor x);

}  // namespace kd

#endif  // KD_MODELS_FOLDED_NORM_H_
