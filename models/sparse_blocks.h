// What networks on sparse voxels are built of: convolutions with batch norm and rectifier (detectors.md section 3).
#ifndef KD_MODELS_SPARSE_BLOCKS_H_
#define KD_MODELS_SPARSE_BLOCKS_H_

#include "models/sparse_conv.h"
#include "torch/torch.h"

namespace kd {

struct SparseNorm {
  double eps = 1e-3, momentum = 0.01;
};

struct SparseBlock : torch::nn::Module {
  virtual SparseTensor forward(const SparseTensor& input) = 0;
};

// Convolution, batch norm, rectifier; entries 0 and 1.
struct SparseConvBlock : SparseBlock {
  SparseConvBlock(const SparseConvOptions& options, const SparseNorm& of);
  SparseTensor forward(const SparseTensor& input) override;

  SparseConv3d conv;
  torch::nn::BatchNorm1d norm;
};

// Two convolutions with batch norm that keep sites and width, and the input added before the last rectifier; entries
// conv1, bn1, conv2, bn2.
struct SparseResidualBlock : SparseBlock {
  SparseResidualBlock(const SparseConvOptions& options, const SparseNorm& of);
  SparseTensor forward(const SparseTensor& input) override;

  SparseConv3d conv1;
  torch::nn::BatchNorm1d bn1;
  SparseConv3d conv2;
  torch::nn::BatchNorm1d bn2;
};

}  // namespace kd

#endif  // KD_MODELS_SPARSE_BLOCKS_H_
