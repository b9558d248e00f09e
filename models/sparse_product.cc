#include "models/sparse_product.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "ATen/Parallel.h"
#include "ops/sparse_conv.h"

namespace kd {
namespace {

using torch::Tensor;

// Of a weight as it lies in memory.
WeightStrides StridesOf(const SparseProduct& p) {
  if (p.pairs->volume == 1) return {.positions = 0, .ins = p.out_channels, .outs = 1};
  return {.positions = p.in_channels, .ins = 1, .outs = p.pairs->volume * p.in_channels};
}

// Weights as positions x Cin x Cout, and back.
Tensor ByPosition(const SparseProduct& p, const Tensor& weight) {
  if (p.pairs->volume == 1) return weight.view({1, p.in_channels, p.out_channels});
  return weight.view({p.out_channels, p.pairs->volume, p.in_channels}).permute({1, 2, 0});
}
Tensor AsStored(const Tensor& by_position, const Tensor& like) {
  return (by_position.size(0) == 1 ? by_position : by_position.permute({2, 0, 1})).reshape(like.sizes());
}

Tensor Multiply(const Rulebook& pairs, const Tensor& input, const PackedWeights& weights, const float* bias) {
  Tensor output = torch::empty({pairs.num_out, weights.out_channels()}, input.options());
  const float* const from = input.data_ptr<float>();
  float* const to = output.data_ptr<float>();
  OnAllCores(pairs.blocks(), [&](int64_t begin, int64_t end) { SparseConvForward(pairs, from, weights, bias, to, begin, end); });
  return output;
}

// Rows of the pairs of every position, in the memory of `device`.
struct PositionRows {
  std::vector<Tensor> in, out;
};
PositionRows RowsOf(const Rulebook& pairs, const torch::Device& device) {
  std::vector<std::vector<int64_t>> in(pairs.volume), out(pairs.volume);
  for (size_t group = 0; group + 1 < pairs.starts.size(); ++group) {
    const size_t position = group % static_cast<size_t>(pairs.volume);
    for (int64_t pair = pairs.starts[group]; pair < pairs.starts[group + 1]; ++pair) {
      in[position].push_back(pairs.in[pair]);
      out[position].push_back(pairs.out[pair]);
    }
  }
  PositionRows rows;
  for (int32_t position = 0; position < pairs.volume; ++position) {
    rows.in.push_back(torch::tensor(in[position], torch::kInt64).to(device));
    rows.out.push_back(torch::tensor(out[position], torch::kInt64).to(device));
  }
  return rows;
}

// Adds input rows times weights (positions x from x to) to the output's rows. A position feeds a row once at most, so the order
// of additions is fixed.
void AddProducts(const std::vector<Tensor>& from, const std::vector<Tensor>& to, const Tensor& input, const Tensor& weights, Tensor& output) {
  for (size_t position = 0; position < from.size(); ++position) {
    output.index_add_(0, to[position], input.index_select(0, from[position]).matmul(weights[static_cast<int64_t>(position)]));
  }
}

}  // namespace

void OnAllCores(int64_t count, absl::FunctionRef<void(int64_t, int64_t)> body) {
  // Sites are not spread evenly, so threads fetch many small parts instead of one half each.
  constexpr int64_t kPartsPerThread = 16;
  const int64_t threads = at::get_num_threads();
  const int64_t part = std::max<int64_t>(1, count / (threads * kPartsPerThread));
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, count), 1, [&](int64_t, int64_t) {
    for (int64_t begin = next.fetch_add(part); begin < count; begin = next.fetch_add(part)) body(begin, std::min(begin + part, count));
  });
}

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
  OnAllCores(pairs->volume, [&](int64_t begin, int64_t end) {
    SparseConvWeightGradient(*pairs, from, in_channels, up, out_channels, to, static_cast<int32_t>(begin), static_cast<int32_t>(end));
  });
  return AsStored(by_position, weight);
}

Tensor SparseProduct::GatheredForward(const Tensor& features, const Tensor& weight, const std::optional<Tensor>& bias) const {
  const PositionRows rows = RowsOf(*pairs, features.device());
  Tensor output = torch::zeros({pairs->num_out, out_channels}, features.options());
  if (bias) output += *bias;
  AddProducts(rows.in, rows.out, features, ByPosition(*this, weight), output);
  return output;
}

Tensor SparseProduct::GatheredInputGradient(const Tensor& gradient, const Tensor& weight) const {
  const PositionRows rows = RowsOf(*pairs, gradient.device());
  Tensor output = torch::zeros({pairs->num_in, in_channels}, gradient.options());
  AddProducts(rows.out, rows.in, gradient, ByPosition(*this, weight).transpose(1, 2), output);
  return output;
}

Tensor SparseProduct::GatheredWeightGradient(const Tensor& features, const Tensor& gradient, const Tensor& weight) const {
  const PositionRows rows = RowsOf(*pairs, features.device());
  std::vector<Tensor> by_position;
  for (size_t position = 0; position < rows.in.size(); ++position) {
    by_position.push_back(features.index_select(0, rows.in[position]).t().matmul(gradient.index_select(0, rows.out[position])));
  }
  return AsStored(torch::stack(by_position), weight);
}

}  // namespace kd
