#include "models/sparse_product.h"

#include <vector>

#include "models/all_cores.h"
#include "ops/sparse_conv.h"

namespace kd {
namespace {

using torch::Tensor;

// Of a weight as it lies in memory.
WeightStrides StridesOf(const SparseProduct& p) {
  if (p.pairs->volume == 1) return {.positions = 0, .ins = p.out_channels, .outs = 1};
  return {.positions = p.in_channels, .ins = 1, .outs = p.pairs->volume * p.in_channels};
}

Tensor Multiply(const Rulebook& pairs, const Tensor& input, const PackedWeights& weights, const float* bias) {
  Tensor output = torch::empty({pairs.num_out, weights.out_channels()}, input.options());
  const float* const from = input.data_ptr<float>();
  float* const to = output.data_ptr<float>();
  OnAllCores(pairs.blocks(),
             [&](int64_t begin, int64_t end) { SparseConvForward(pairs, from, weights, bias, to, begin, end); });
  return output;
}

}  // namespace

Tensor SparseProduct::Forward(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias) const {
  const PackedWeights packed(weight.data_ptr<float>(), pairs->volume, in_channels, out_channels, StridesOf(*this));
  return Multiply(*pairs, features, packed, bias ? bias->data_ptr<float>() : nullptr);
}

Tensor SparseProduct::InputGradient(const Tensor& gradient, const Tensor& weight) const {
  const WeightStrides s = StridesOf(*this);
  const float* const first = weight.data_ptr<float>() + (mirrored ? (pairs->volume - 1) * s.positions : 0);
  const PackedWeights packed(first, pairs->volume, out_channels, in_channels,
                             {.positions = mirrored ? -s.positions : s.positions, .ins = s.outs, .outs = s.ins});
  return Multiply(*reversed, gradient, packed, nullptr);
}

Tensor SparseProduct::WeightGradient(const Tensor& features, const Tensor& gradient, const Tensor& weight) const {
  Tensor by_position = torch::empty({pairs->volume, in_channels, out_channels}, features.options());
  const float *const from = features.data_ptr<float>(), *const up = gradient.data_ptr<float>();
  float* const to = by_position.data_ptr<float>();
  SparseConvWeightGradient(*pairs, from, in_channels, up, out_channels, to, OnAllCores);
  if (pairs->volume == 1) return by_position.view(weight.sizes());
  return by_position.permute({2, 0, 1}).reshape(weight.sizes());
}

}  // namespace kd
