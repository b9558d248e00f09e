#include "models/folded_norm.h"

#include <memory>
#include <vector>

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

// Calls convolve(weight, bias) with the convolution's own or, where a norm follows, with both in one.
template <typename Conv, typename Call>
Tensor RunLayer(const Conv& conv, const nn::BatchNorm2dImpl* norm, int64_t outputs, const Call& convolve) {
  if (norm == nullptr) return convolve(conv.weight, conv.bias);
  const FoldedLayer folded = FoldNorm(conv.weight, conv.bias, *norm, outputs);
  return convolve(folded.weight, folded.bias);
}

// A transposed convolution whose kernel is its stride: every cell makes a square of cells, by one product for all.
Tensor Upsample(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t in = weight.size(0), out = weight.size(1), up = weight.size(2);
  const Tensor rows = x.permute({0, 2, 3, 1}).reshape({-1, in});
  const Tensor squares = torch::linear(rows, weight.permute({2, 3, 1, 0}).reshape({-1, in}), bias.repeat({up * up}));
  return squares.view({x.size(0), x.size(2), x.size(3), up, up, out})
      .permute({0, 1, 3, 2, 4, 5})
      .reshape({x.size(0), x.size(2) * up, x.size(3) * up, out})
      .permute({0, 3, 1, 2});
}

}  // namespace

bool MayFold(const torch::nn::Module& module) { return !module.is_training() && !torch::GradMode::is_enabled(); }

Tensor ForwardFolded(const nn::Module& layers, Tensor x) {
  const std::vector<std::shared_ptr<nn::Module>> children = layers.children();
  for (size_t i = 0; i < children.size(); ++i) {
    const auto* norm = i + 1 < children.size() ? children[i + 1]->as<nn::BatchNorm2dImpl>() : nullptr;
    if (const auto* conv = children[i]->as<nn::Conv2dImpl>()) {
      const auto& padding = std::get<torch::ExpandingArray<2>>(conv->options.padding());
      x = RunLayer(*conv, norm, 0, [&](const Tensor& weight, const Tensor& bias) {
        return torch::conv2d(x, weight, bias, conv->options.stride(), padding, conv->options.dilation(),
                             conv->options.groups());
      });
    } else if (const auto* up = children[i]->as<nn::ConvTranspose2dImpl>()) {
      x = RunLayer(*up, norm, 1, [&](const Tensor& weight, const Tensor& bias) {
        // LibTorch's CPU form adds a bias by plain loops.
        const bool squares =
            bias.defined() && weight.size(2) == weight.size(3) && *up->options.stride() == *up->options.kernel_size();
        return squares ? Upsample(x, weight, bias) : torch::conv_transpose2d(x, weight, bias, up->options.stride());
      });
    } else if (children[i]->as<nn::ReLUImpl>() != nullptr) {
      x = torch::relu_(x);  // What a convolution just made.
      continue;
    } else if (children[i]->as<nn::IdentityImpl>() != nullptr) {
      continue;
    } else {
      TORCH_CHECK(!children[i]->children().empty(), "a layer of the kind ", children[i]->name(), " cannot be folded");
      x = ForwardFolded(*children[i], x);
      continue;
    }
    if (norm != nullptr) ++i;
  }
  return x;
}

}  // namespace kd
