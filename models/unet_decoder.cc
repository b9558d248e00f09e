#include "models/unet_decoder.h"

#include <string>

#include "absl/strings/str_cat.h"

namespace kd {

using Kind = SparseConvOptions::Kind;

UnetDecoder::UnetDecoder(const std::array<int64_t, 4>& widths, const SparseNorm& norm) {
  for (size_t i = 0; i < levels_.size(); ++i) {
    const int64_t width = widths[i];
    const std::string key = absl::StrCat("subm", i + 1);
    const SparseConvOptions same{.in_channels = width, .out_channels = width, .indice_key = key};
    SparseConvOptions merge = same, up = same;
    merge.in_channels = 2 * width;
    if (i > 0) {
      up.kind = Kind::kInverse;
      up.out_channels = widths[i - 1];
      up.indice_key = absl::StrCat("spconv", i + 1);
    }
    levels_[i] = {.lateral = std::make_shared<SparseResidualBlock>(same, norm),
                  .merge = std::make_shared<SparseConvBlock>(merge, norm),
                  .up = std::make_shared<SparseConvBlock>(up, norm)};
  }
}

void UnetDecoder::RegisterIn(torch::nn::Module& backbone) {
  for (size_t i = levels_.size(); i-- > 0;) {
    backbone.register_module(absl::StrCat("conv_up_t", i + 1), levels_[i].lateral);
    backbone.register_module(absl::StrCat("conv_up_m", i + 1), levels_[i].merge);
    if (i > 0) backbone.register_module(absl::StrCat("inv_conv", i + 1), levels_[i].up);
  }
  torch::nn::ModuleList last;
  last->push_back(levels_[0].up);
  backbone.register_module("conv5", last);
}

SparseTensor UnetDecoder::Decode(const VoxelBackboneImpl::Maps& maps) {
  SparseTensor x = maps.x_conv.back();
  for (size_t i = levels_.size(); i-- > 0;) {
    const SparseTensor& map = maps.x_conv[i];
    const torch::Tensor joined = torch::cat({x.features, levels_[i].lateral->forward(map).features}, 1);
    const torch::Tensor merged = levels_[i].merge->forward(map.With(joined)).features;
    // Neighbouring channels are added, which halves them.
    const torch::Tensor halved = joined.view({joined.size(0), merged.size(1), 2}).sum(2);
    x = levels_[i].up->forward(map.With(merged + halved));
  }
  return x;
}

}  // namespace kd
