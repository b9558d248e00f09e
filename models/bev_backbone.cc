#include "models/bev_backbone.h"

#include <cmath>

#include "models/folded_norm.h"

namespace kd {
namespace {

namespace nn = torch::nn;

nn::BatchNorm2d Norm(int64_t channels, const BevBackboneOptions& options) {
  return nn::BatchNorm2d(nn::BatchNorm2dOptions(channels).eps(options.bn_eps).momentum(options.bn_momentum));
}

nn::ReLU Rectifier() { return nn::ReLU(nn::ReLUOptions(/*inplace=*/true)); }

void PushConvolution(nn::Sequential& block, int64_t in, int64_t out, int64_t stride,
                     const BevBackboneOptions& options) {
  block->push_back(nn::Conv2d(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1).bias(false)));
  block->push_back(Norm(out, options));
  block->push_back(Rectifier());
}

}  // namespace

std::vector<int64_t> WidthPerConvolution(const std::vector<int64_t>& layer_nums, const std::vector<int64_t>& filters) {
  std::vector<int64_t> widths;
  for (size_t i = 0; i < layer_nums.size(); ++i) widths.insert(widths.end(), layer_nums[i] + 1, filters[i]);
  return widths;
}

BevBackboneImpl::BevBackboneImpl(const BevBackboneOptions& options) {
  nn::ModuleList blocks, deblocks;
  int64_t in = options.in_channels;
  size_t next = 0;
  for (size_t level = 0; level < options.layer_nums.size(); ++level) {
    nn::Sequential block;
    // Entry 0 was a padding layer once; the names of released weights count it.
    block->push_back(nn::Identity());
    for (int64_t layer = 0; layer <= options.layer_nums[level]; ++layer, ++next) {
      PushConvolution(block, in, options.conv_filters[next], layer == 0 ? options.layer_strides[level] : 1, options);
      in = options.conv_filters[next];
    }
    nn::Sequential deblock;
    const double up = options.upsample_strides[level];
    const int64_t out = options.upsample_filters[level];
    if (up >= 1) {
      const auto k = static_cast<int64_t>(std::lround(up));
      deblock->push_back(nn::ConvTranspose2d(nn::ConvTranspose2dOptions(in, out, k).stride(k).bias(false)));
    } else {
      const auto k = static_cast<int64_t>(std::lround(1 / up));
      deblock->push_back(nn::Conv2d(nn::Conv2dOptions(in, out, k).stride(k).bias(false)));
    }
    deblock->push_back(Norm(out, options));
    deblock->push_back(Rectifier());
    blocks->push_back(block);
    deblocks->push_back(deblock);
    blocks_.push_back(block);
    deblocks_.push_back(deblock);
  }
  register_module("blocks", blocks);
  register_module("deblocks", deblocks);
}

torch::Tensor BevBackboneImpl::forward(torch::Tensor x) {
  std::vector<torch::Tensor> maps;
  const bool fold = MayFold(*this);
  for (size_t level = 0; level < blocks_.size(); ++level) {
    x = fold ? ForwardFolded(*blocks_[level], x) : blocks_[level]->forward(x);
    maps.push_back(fold ? ForwardFolded(*deblocks_[level], x) : deblocks_[level]->forward(x));
  }
  return maps.size() == 1 ? maps.front() : torch::cat(maps, 1);
}

}  // namespace kd
