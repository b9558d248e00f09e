// Sparse convolution by LibTorch's operations, on any device: rows of a kernel position are gathered, multiplied and
// added to the output's rows. Nothing but counts of pairs comes back to the host.
#ifndef KD_MODELS_GATHERED_PRODUCT_H_
#define KD_MODELS_GATHERED_PRODUCT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "models/active_sites.h"
#include "ops/sparse_sites.h"
#include "torch/torch.h"

namespace kd {

// Rows of the pairs of each kernel position, int64 in the memory of the sites' device, ascending by output row.
struct PositionRows {
  std::vector<torch::Tensor> in, out;
  int64_t num_in = 0, num_out = 0;

  // Of the convolution that goes back.
  PositionRows Reversed() const { return {.in = out, .out = in, .num_in = num_out, .num_out = num_in}; }
};

// The pairs that BuildRulebook() finds; a submanifold convolution passes the same sites twice.
PositionRows FindPairs(const SiteKeys& input, const SiteKeys& output, const ConvGeometry& geometry);

// The sites of SparseSites::Convolved().
SiteKeys Convolved(const SiteKeys& input, const ConvGeometry& geometry);

// One convolution. The weight is (Cout, kz, ky, kx, Cin), contiguous, and a 1x1x1 one is read as (Cin, Cout). Under
// autocast the products are of its type, sums of the features'.
struct GatheredProduct {
  PositionRows rows;
  int64_t in_channels = 0, out_channels = 0;

  torch::Tensor Forward(const torch::Tensor& features, const torch::Tensor& weight,
                        const std::optional<torch::Tensor>& bias) const;
  torch::Tensor InputGradient(const torch::Tensor& gradient, const torch::Tensor& weight) const;
  torch::Tensor WeightGradient(const torch::Tensor& features, const torch::Tensor& gradient,
                               const torch::Tensor& weight) const;
};

}  // namespace kd

#endif  // KD_MODELS_GATHERED_PRODUCT_H_
