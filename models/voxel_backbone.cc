#include "models/voxel_backbone.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "models/sparse_blocks.h"

namespace kd {

namespace nn = torch::nn;
using Kind = SparseConvOptions::Kind;

std::vector<int64_t> WidthPerSubModule(const std::array<int64_t, 6>& layer_nums, const std::array<int64_t, 6>& widths) {
  std::vector<int64_t> all;
  for (size_t stage = 0; stage < widths.size(); ++stage) all.insert(all.end(), layer_nums[stage], widths[stage]);
  return all;
}

struct VoxelBackboneImpl::Stages {
  using Stage = std::vector<std::shared_ptr<SparseBlock>>;
  // conv_input, conv1 ... conv4, conv_out.
  std::array<Stage, 6> all;
};

VoxelBackboneImpl::VoxelBackboneImpl(const VoxelBackboneOptions& options) : stages_(std::make_unique<Stages>()) {
  const SparseNorm norm{.eps = options.bn_eps, .momentum = options.bn_momentum};
  auto width = options.widths.begin();
  int64_t in = options.in_channels;
  // Makes the next sub-module.
  const auto block = [&](Kind kind, std::array<int32_t, 3> kernel, std::array<int32_t, 3> stride,
                         std::array<int32_t, 3> padding, const std::string& key) -> std::shared_ptr<SparseBlock> {
    TORCH_CHECK(width != options.widths.end(), "voxel backbone: ", options.widths.size(),
                " widths are too few for its layers");
    const int64_t from = std::exchange(in, *width++);
    return std::make_shared<SparseConvBlock>(
        SparseConvOptions{kind, from, in, kernel, stride, padding, /*bias=*/false, key}, norm);
  };
  const auto residual_block = [&](const std::string& key) -> std::shared_ptr<SparseBlock> {
    TORCH_CHECK(width != options.widths.end() && *width == in,
                "voxel backbone: the width of a residual block must be that of its input, ", in);
    ++width;
    return std::make_shared<SparseResidualBlock>(
        SparseConvOptions{.in_channels = in, .out_channels = in, .bias = true, .indice_key = key}, norm);
  };
  const auto level_block = [&](int level) {
    if (options.residual) return residual_block(absl::StrCat("res", level));
    return block(Kind::kSubmanifold, {3, 3, 3}, {1, 1, 1}, {0, 0, 0}, absl::StrCat("subm", level));
  };

  stages_->all[0] = {block(Kind::kSubmanifold, {3, 3, 3}, {1, 1, 1}, {0, 0, 0}, "subm1")};
  for (int level = 1; level <= 4; ++level) {
    Stages::Stage& stage = stages_->all[level];
    if (level > 1) {
      const int32_t z_padding = level == 4 ? 0 : 1;
      stage.push_back(block(Kind::kStrided, {3, 3, 3}, {2, 2, 2}, {z_padding, 1, 1}, absl::StrCat("spconv", level)));
    }
    while (static_cast<int64_t>(stage.size()) < options.layer_nums[level]) stage.push_back(level_block(level));
  }
  stages_->all[5] = {block(Kind::kStrided, {3, 1, 1}, {2, 1, 1}, {0, 0, 0}, "spconv_down2")};
  TORCH_CHECK(width == options.widths.end(), "voxel backbone: ", options.widths.size(),
              " widths are too many for its layers");

  register_module("conv_input", stages_->all[0][0]);
  for (int level = 1; level <= 4; ++level) {
    nn::ModuleList list;
    for (const auto& sub_module : stages_->all[level]) list->push_back(sub_module);
    register_module(absl::StrCat("conv", level), list);
  }
  register_module("conv_out", stages_->all[5][0]);
}

VoxelBackboneImpl::~VoxelBackboneImpl() = default;

VoxelBackboneImpl::Maps VoxelBackboneImpl::forward(const SparseTensor& input) {
  Maps maps;
  SparseTensor x = input;
  for (size_t stage = 0; stage < stages_->all.size(); ++stage) {
    for (const auto& sub_module : stages_->all[stage]) x = sub_module->forward(x);
    if (stage >= 1 && stage <= 4) maps.x_conv[stage - 1] = x;
  }
  maps.encoded = x;
  return maps;
}

torch::Tensor CompressHeight(const SparseTensor& encoded) { return encoded.Dense().flatten(1, 2); }

}  // namespace kd
