#include "models/sparse_blocks.h"

#include "models/folded_norm.h"

namespace kd {
namespace {

torch::nn::BatchNorm1d Norm(int64_t channels, const SparseNorm& of) {
  return torch::nn::BatchNorm1d(torch::nn::BatchNorm1dOptions(channels).eps(of.eps).momentum(of.momentum));
}

}  // namespace

SparseConvBlock::SparseConvBlock(const SparseConvOptions& options, const SparseNorm& of)
    : conv(register_module("0", SparseConv3d(options))), norm(register_module("1", Norm(options.out_channels, of))) {}

SparseTensor SparseConvBlock::forward(const SparseTensor& input) {
  if (MayFold(*this)) {
    const SparseTensor x = conv->ForwardFolded(input, *norm);
    return x.With(x.features.relu_());
  }
  const SparseTensor x = conv->forward(input);
  return x.With(torch::relu(norm->forward(x.features)));
}

SparseResidualBlock::SparseResidualBlock(const SparseConvOptions& options, const SparseNorm& of)
    : conv1(register_module("conv1", SparseConv3d(options))),
      bn1(register_module("bn1", Norm(options.out_channels, of))),
      conv2(register_module("conv2", SparseConv3d(options))),
      bn2(register_module("bn2", Norm(options.out_channels, of))) {}

SparseTensor SparseResidualBlock::forward(const SparseTensor& input) {
  if (MayFold(*this)) {
    SparseTensor x = conv1->ForwardFolded(input, *bn1);
    x = conv2->ForwardFolded(x.With(x.features.relu_()), *bn2);
    return x.With(x.features.add_(input.features).relu_());
  }
  SparseTensor x = conv1->forward(input);
  x = conv2->forward(x.With(torch::relu(bn1->forward(x.features))));
  return x.With(torch::relu(bn2->forward(x.features) + input.features));
}

}  // namespace kd
