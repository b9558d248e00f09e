// Products of a sparse convolution by this library's kernels, on the CPU.
#ifndef KD_MODELS_SPARSE_PRODUCT_H_
#define KD_MODELS_SPARSE_PRODUCT_H_

#include <cstdint>
#include <optional>

#include "ops/sparse_rulebook.h"
#include "torch/torch.h"

namespace kd {

// One convolution. Features and gradients are rows x channels; the weight is (Cout, kz, ky, kx, Cin), contiguous, and a
// 1x1x1 one is read as (Cin, Cout). Holds no data: rulebooks must outlive it.
struct SparseProduct {
  const Rulebook* pairs = nullptr;
  // From output rows to input rows.
  const Rulebook* reversed = nullptr;
  // `reversed` has the positions of `pairs`, so that they count backwards.
  bool mirrored = false;
  int64_t in_channels = 0, out_channels = 0;

  torch::Tensor Forward(const torch::Tensor& features, const torch::Tensor& weight,
                        const std::optional<torch::Tensor>& bias) const;
  torch::Tensor InputGradient(const torch::Tensor& gradient, const torch::Tensor& weight) const;
  torch::Tensor WeightGradient(const torch::Tensor& features, const torch::Tensor& gradient,
                               const torch::Tensor& weight) const;
};

}  // namespace kd

#endif  // KD_MODELS_SPARSE_PRODUCT_H_
