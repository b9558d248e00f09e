#include "ops/sparse_conv.h"

#include <algorithm>
#include <cstring>

namespace kd {
namespace {

constexpr int64_t kPanel = PackedWeights::kPanel;

using Vec4 = float __attribute__((vector_size(16), aligned(4), may_alias));
using Vec8 = float __attribute__((vector_size(32), aligned(4), may_alias));
using Vec16 = float __attribute__((vector_size(64), aligned(4), may_alias));

#define KD_INLINE [[gnu::always_inline]] inline

// out[r][0..16) += sum over c of in[r][c] * panel[c][0..16).
template <typename Vec, int kRows>
KD_INLINE void MultiplyRows(const float* const* in, int64_t channels, const float* panel, float* const* out) {
  constexpr int kVecs = kPanel * sizeof(float) / sizeof(Vec), kWidth = kPanel / kVecs;
  Vec sums[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sums[r][v] = *reinterpret_cast<const Vec*>(out[r] + v * kWidth);
  }
  for (int64_t c = 0; c < channels; ++c) {
    Vec weights[kVecs];
    for (int v = 0; v < kVecs; ++v) weights[v] = *reinterpret_cast<const Vec*>(panel + c * kPanel + v * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const float x = in[r][c];
      for (int v = 0; v < kVecs; ++v) sums[r][v] += weights[v] * x;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) *reinterpret_cast<Vec*>(out[r] + v * kWidth) = sums[r][v];
  }
}

// sums[c][0..16) += sum over rows p of a[p][c] * b[p][0..16), for kRows channels c.
template <typename Vec, int kRows>
KD_INLINE void MultiplyTransposed(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t rows, float* sums_at,
                                  int64_t sums_stride) {
  constexpr int kVecs = kPanel * sizeof(float) / sizeof(Vec), kWidth = kPanel / kVecs;
  Vec sums[kRows][kVecs];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) sums[r][v] = *reinterpret_cast<const Vec*>(sums_at + r * sums_stride + v * kWidth);
  }
  for (int64_t p = 0; p < rows; ++p) {
    Vec row[kVecs];
    for (int v = 0; v < kVecs; ++v) row[v] = *reinterpret_cast<const Vec*>(b + p * b_stride + v * kWidth);
    for (int r = 0; r < kRows; ++r) {
      const float x = a[p * a_stride + r];
      for (int v = 0; v < kVecs; ++v) sums[r][v] += row[v] * x;
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVecs; ++v) *reinterpret_cast<Vec*>(sums_at + r * sums_stride + v * kWidth) = sums[r][v];
  }
}

int64_t RoundUp(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

struct ForwardCall {
  const Rulebook& rulebook;
  const float* input;
  const PackedWeights& weights;
  const float* bias;
  float* output;
  int64_t begin, end;
};

template <typename Vec, int kRows>
KD_INLINE void Forward(const ForwardCall& call) {
  const Rulebook& book = call.rulebook;
  const int64_t in_channels = call.weights.in_channels(), out_channels = call.weights.out_channels();
  const int64_t width = call.weights.panels() * kPanel;
  // A group that is not full reads zeros into a row that nobody reads.
  const std::vector<float> zeros(in_channels);
  std::vector<float> sums((Rulebook::kBlockRows + 1) * width), start(width);
  if (call.bias != nullptr) std::copy_n(call.bias, out_channels, start.begin());
  float* const unread = sums.data() + Rulebook::kBlockRows * width;
  for (int64_t block = call.begin; block < call.end; ++block) {
    const int64_t first = block * Rulebook::kBlockRows, rows = std::min(Rulebook::kBlockRows, book.num_out - first);
    for (int64_t row = 0; row < rows; ++row) std::memcpy(sums.data() + row * width, start.data(), width * sizeof(float));
    for (int32_t position = 0; position < book.volume; ++position) {
      const int64_t pairs = book.starts[block * book.volume + position], pairs_end = book.starts[block * book.volume + position + 1];
      for (int64_t panel = 0; panel < call.weights.panels(); ++panel) {
        const float* const weights = call.weights.Panel(position, panel);
        for (int64_t pair = pairs; pair < pairs_end; pair += kRows) {
          const float* in[kRows];
          float* out[kRows];
          for (int r = 0; r < kRows; ++r) {
            const bool full = pair + r < pairs_end;
            in[r] = full ? call.input + static_cast<int64_t>(book.in[pair + r]) * in_channels : zeros.data();
            out[r] = (full ? sums.data() + (book.out[pair + r] - first) * width : unread) + panel * kPanel;
          }
          MultiplyRows<Vec, kRows>(in, in_channels, weights, out);
        }
      }
    }
    float* const output = call.output + first * out_channels;
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(output + row * out_channels, sums.data() + row * width, out_channels * sizeof(float));
    }
  }
}

struct GradientCall {
  const Rulebook& rulebook;
  const float* input;
  int64_t in_channels;
  const float* grad_output;
  int64_t out_channels;
  float* gradient;
  int32_t begin, end;
};

template <typename Vec, int kRows>
KD_INLINE void WeightGradient(const GradientCall& call) {
  constexpr int64_t kChunk = 64;
  const Rulebook& book = call.rulebook;
  const int64_t in_width = RoundUp(call.in_channels, kRows), out_width = RoundUp(call.out_channels, kPanel);
  // Rows of one chunk of pairs side by side; columns past the channels stay zero.
  std::vector<float> a(kChunk * in_width), b(kChunk * out_width), sums(in_width * out_width);
  for (int32_t position = call.begin; position < call.end; ++position) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    int64_t filled = 0;
    for (int64_t block = 0; block <= book.blocks(); ++block) {
      const bool last = block == book.blocks();
      const int64_t group = block * book.volume + position;
      const int64_t pairs = last ? 0 : book.starts[group], pairs_end = last ? 0 : book.starts[group + 1];
      for (int64_t pair = pairs; pair < pairs_end || (last && filled > 0);) {
        if (pair < pairs_end) {
          std::memcpy(&a[filled * in_width], call.input + static_cast<int64_t>(book.in[pair]) * call.in_channels, call.in_channels * sizeof(float));
          std::memcpy(&b[filled * out_width], call.grad_output + static_cast<int64_t>(book.out[pair]) * call.out_channels, call.out_channels * sizeof(float));
          ++filled;
          ++pair;
        }
        if (filled < kChunk && !last) continue;
        for (int64_t column = 0; column < out_width; column += kPanel) {
          for (int64_t row = 0; row < in_width; row += kRows) {
            MultiplyTransposed<Vec, kRows>(&a[row], in_width, &b[column], out_width, filled, &sums[row * out_width + column], out_width);
          }
        }
        filled = 0;
      }
    }
    for (int64_t row = 0; row < call.in_channels; ++row) {
      std::memcpy(call.gradient + (position * call.in_channels + row) * call.out_channels, &sums[row * out_width], call.out_channels * sizeof(float));
    }
  }
}

#if defined(__x86_64__)
[[gnu::target("avx512f")]] void ForwardAvx512(const ForwardCall& call) { Forward<Vec16, 12>(call); }
[[gnu::target("avx2,fma")]] void ForwardAvx2(const ForwardCall& call) { Forward<Vec8, 6>(call); }
[[gnu::target("avx512f")]] void WeightGradientAvx512(const GradientCall& call) { WeightGradient<Vec16, 8>(call); }
[[gnu::target("avx2,fma")]] void WeightGradientAvx2(const GradientCall& call) { WeightGradient<Vec8, 6>(call); }
bool HasAvx512() { return __builtin_cpu_supports("avx512f"); }
bool HasAvx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif

}  // namespace

PackedWeights::PackedWeights(const float* weights, int32_t volume, int64_t in_channels, int64_t out_channels, const WeightStrides& strides)
    : in_channels_(in_channels), out_channels_(out_channels), values_(volume * panels() * in_channels * kPanel) {
  for (int32_t position = 0; position < volume; ++position) {
    for (int64_t out = 0; out < out_channels; ++out) {
      float* const panel = values_.data() + (position * panels() + out / kPanel) * in_channels * kPanel + out % kPanel;
      const float* const from = weights + position * strides.positions + out * strides.outs;
      for (int64_t in = 0; in < in_channels; ++in) panel[in * kPanel] = from[in * strides.ins];
    }
  }
}

void SparseConvForward(const Rulebook& rulebook, const float* input, const PackedWeights& weights, const float* bias, float* output,
                       int64_t begin, int64_t end) {
  const ForwardCall call{rulebook, input, weights, bias, output, begin, end};
#if defined(__x86_64__)
  if (HasAvx512()) return ForwardAvx512(call);
  if (HasAvx2()) return ForwardAvx2(call);
#endif
  Forward<Vec4, 2>(call);
}

void SparseConvWeightGradient(const Rulebook& rulebook, const float* input, int64_t in_channels, const float* grad_output,
                              int64_t out_channels, float* gradient, int32_t begin, int32_t end) {
  const GradientCall call{rulebook, input, in_channels, grad_output, out_channels, gradient, begin, end};
#if defined(__x86_64__)
  if (HasAvx512()) return WeightGradientAvx512(call);
  if (HasAvx2()) return WeightGradientAvx2(call);
#endif
  WeightGradient<Vec4, 2>(call);
}

}  // namespace kd
