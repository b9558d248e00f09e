#include "ops/sparse_conv.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace kd {
namespace {

constexpr int64_t kPanel = PackedWeights::kPanel;

using Vec4 = float __attribute__((vector_size(16), aligned(4), may_alias));
using Vec8 = float __attribute__((vector_size(32), aligned(4), may_alias));
using Vec16 = float __attribute__((vector_size(64), aligned(4), may_alias));

#define KD_INLINE [[gnu::always_inline]] inline

// out[r][0..16 kPanels) += sum over c of in[r][c] * (the panels' rows c), for kPanels panels one after the other.
template <typename Vec, int kRows, int kPanels>
KD_INLINE void MultiplyRows(const float* const* in, int64_t channels, const float* panel, float* const* out) {
  constexpr int kPerPanel = kPanel * sizeof(float) / sizeof(Vec), kWidth = kPanel / kPerPanel,
                kVecs = kPerPanel * kPanels;
  Vec sums[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) sums[r][v] = *reinterpret_cast<const Vec*>(out[r] + v * kWidth);
  }
  for (int64_t c = 0; c < channels; ++c) {
    Vec weights[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) {
      weights[v] =
          *reinterpret_cast<const Vec*>(panel + (v / kPerPanel * channels + c) * kPanel + v % kPerPanel * kWidth);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const float x = in[r][c];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sums[r][v] += weights[v] * x;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) *reinterpret_cast<Vec*>(out[r] + v * kWidth) = sums[r][v];
  }
}

// Rows a[p][channel..) and b[p][column..) of a chunk of pairs, and where their product is added.
struct ChunkProduct {
  const float* const* a;
  int64_t channel;
  const float* const* b;
  int64_t column, pairs;
  float* sums;
  int64_t sums_stride;
};

// sums[r][0..16 kPanels) += sum over pairs p of a[p][r] * b[p][0..16 kPanels), for kRows channels r.
template <typename Vec, int kRows, int kPanels>
KD_INLINE void MultiplyTransposed(const ChunkProduct& product) {
  constexpr int kWidth = sizeof(Vec) / sizeof(float), kVecs = kPanel / kWidth * kPanels;
  const ChunkProduct call = product;
  Vec sums[kRows][kVecs];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v)
      sums[r][v] = *reinterpret_cast<const Vec*>(call.sums + r * call.sums_stride + v * kWidth);
  }
  for (int64_t p = 0; p < call.pairs; ++p) {
    const float *const from = call.a[p] + call.channel, *const to = call.b[p] + call.column;
    Vec row[kVecs];
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) row[v] = *reinterpret_cast<const Vec*>(to + v * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const float x = from[r];
#pragma GCC unroll 16
      for (int v = 0; v < kVecs; ++v) sums[r][v] += row[v] * x;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVecs; ++v) *reinterpret_cast<Vec*>(call.sums + r * call.sums_stride + v * kWidth) = sums[r][v];
  }
}

// The two products for each kind of vector unit. They are functions of their own, so that their sums stay in registers.
// kRows x kPanels is the largest block that a unit's registers hold.
struct Portable {
  static constexpr int kRows = 2, kPanels = 1;
  using Vec = Vec4;
  template <int kRows, int kPanels>
  [[gnu::noinline]] static void Rows(const float* const* in, int64_t channels, const float* panel, float* const* out) {
    MultiplyRows<Vec, kRows, kPanels>(in, channels, panel, out);
  }
  template <int kRows, int kPanels>
  [[gnu::noinline]] static void Transposed(const ChunkProduct& product) {
    MultiplyTransposed<Vec, kRows, kPanels>(product);
  }
};
#if defined(__x86_64__)
struct Avx2 {
  static constexpr int kRows = 6, kPanels = 1;
  using Vec = Vec8;
  template <int kRows, int kPanels>
  [[gnu::noinline, gnu::target("avx2,fma")]] static void Rows(const float* const* in, int64_t channels,
                                                              const float* panel, float* const* out) {
    MultiplyRows<Vec, kRows, kPanels>(in, channels, panel, out);
  }
  template <int kRows, int kPanels>
  [[gnu::noinline, gnu::target("avx2,fma")]] static void Transposed(const ChunkProduct& product) {
    MultiplyTransposed<Vec, kRows, kPanels>(product);
  }
  static bool Present() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
};
struct Avx512 {
  static constexpr int kRows = 8, kPanels = 2;
  using Vec = Vec16;
  template <int kRows, int kPanels>
  [[gnu::noinline, gnu::target("avx512f")]] static void Rows(const float* const* in, int64_t channels,
                                                             const float* panel, float* const* out) {
    MultiplyRows<Vec, kRows, kPanels>(in, channels, panel, out);
  }
  template <int kRows, int kPanels>
  [[gnu::noinline, gnu::target("avx512f")]] static void Transposed(const ChunkProduct& product) {
    MultiplyTransposed<Vec, kRows, kPanels>(product);
  }
  static bool Present() { return __builtin_cpu_supports("avx512f"); }
};
#endif

// Rows() for `rows` rows, at most kRows.
template <typename Unit, int kRows, int kPanels>
void MultiplyRest(int64_t rows, const float* const* in, int64_t channels, const float* panel, float* const* out) {
  if (rows == kRows) return Unit::template Rows<kRows, kPanels>(in, channels, panel, out);
  if constexpr (kRows > 1) MultiplyRest<Unit, kRows - 1, kPanels>(rows, in, channels, panel, out);
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

// Pairs [pairs, end) of one kernel position times kPanels of its panels. `sums` is where the first panel starts in the
// row of output `first`; rows are `width` apart.
template <typename Unit, int kPanels>
void MultiplyPairs(const ForwardCall& call, int64_t pairs, int64_t end, const float* panel, int64_t first, float* sums,
                   int64_t width) {
  constexpr int kRows = Unit::kRows;
  const int64_t channels = call.weights.in_channels();
  const int32_t *const from = call.rulebook.in.data(), *const to = call.rulebook.out.data();
  const float* in[kRows];
  float* out[kRows];
  for (; pairs + kRows <= end; pairs += kRows) {
    for (int r = 0; r < kRows; ++r) {
      in[r] = call.input + from[pairs + r] * channels;
      out[r] = sums + (to[pairs + r] - first) * width;
    }
    Unit::template Rows<kRows, kPanels>(in, channels, panel, out);
  }
  if (pairs == end) return;
  for (int64_t r = 0; r < end - pairs; ++r) {
    in[r] = call.input + from[pairs + r] * channels;
    out[r] = sums + (to[pairs + r] - first) * width;
  }
  MultiplyRest<Unit, kRows - 1, kPanels>(end - pairs, in, channels, panel, out);
}

template <typename Unit>
void Forward(const ForwardCall& call) {
  const Rulebook& book = call.rulebook;
  const int64_t out_channels = call.weights.out_channels(), panels = call.weights.panels(), width = panels * kPanel;
  // Rows that do not fill their panels are summed apart.
  const bool apart = width != out_channels;
  std::vector<float> buffer(apart ? Rulebook::kBlockRows * width : 0), start(width);
  if (call.bias != nullptr) std::copy_n(call.bias, out_channels, start.begin());
  for (int64_t block = call.begin; block < call.end; ++block) {
    const int64_t first = block * Rulebook::kBlockRows, rows = std::min(Rulebook::kBlockRows, book.num_out - first);
    float* const output = call.output + first * out_channels;
    float* const sums = apart ? buffer.data() : output;
    for (int64_t row = 0; row < rows; ++row) std::memcpy(sums + row * width, start.data(), width * sizeof(float));
    for (int32_t position = 0; position < book.volume; ++position) {
      const int64_t pairs = book.starts[block * book.volume + position],
                    end = book.starts[block * book.volume + position + 1];
      int64_t panel = 0;
      for (; panel + Unit::kPanels <= panels; panel += Unit::kPanels) {
        MultiplyPairs<Unit, Unit::kPanels>(call, pairs, end, call.weights.Panel(position, panel), first,
                                           sums + panel * kPanel, width);
      }
      for (; panel < panels; ++panel) {
        MultiplyPairs<Unit, 1>(call, pairs, end, call.weights.Panel(position, panel), first, sums + panel * kPanel,
                               width);
      }
    }
    if (!apart) continue;
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(output + row * out_channels, sums + row * width, out_channels * sizeof(float));
    }
  }
}

struct GradientCall {
  const Rulebook& rulebook;
  const float* input;
  int64_t in_channels;
  const float* grad_output;
  int64_t out_channels;

  // Of the sums of one position, filled up to whole blocks of registers.
  template <typename Unit>
  int64_t in_width() const {
    return RoundUp(in_channels, Unit::kRows);
  }
  int64_t out_width() const { return RoundUp(out_channels, kPanel); }
};

// Rows of one side of a chunk of pairs: where they are, or copies with zeros behind them where the kernel reads further
// than the rows are long.
class ChunkRows {
 public:
  ChunkRows(const float* rows, int64_t channels, int64_t width, int64_t chunk)
      : rows_(rows), channels_(channels), width_(width), at_(chunk), copies_(width == channels ? 0 : chunk * width) {}

  void Set(const int32_t* rows, int64_t count) {
    for (int64_t i = 0; i < count; ++i) at_[i] = rows_ + rows[i] * channels_;
    if (copies_.empty()) return;
    for (int64_t i = 0; i < count; ++i) {
      float* const copy = copies_.data() + i * width_;
      std::memcpy(copy, at_[i], channels_ * sizeof(float));
      at_[i] = copy;
    }
  }
  const float* const* data() const { return at_.data(); }

 private:
  const float* const rows_;
  const int64_t channels_, width_;
  std::vector<const float*> at_;
  std::vector<float> copies_;
};

// Sums over a chunk of pairs, in_width x out_width.
template <typename Unit>
void AddChunk(const GradientCall& call, const ChunkRows& a, const ChunkRows& b, int64_t pairs, float* sums) {
  constexpr int64_t kWide = Unit::kPanels * kPanel;
  // One panel leaves registers for more rows.
  constexpr int kRows = Unit::kRows, kManyRows = kRows * Unit::kPanels;
  const int64_t in_width = call.in_width<Unit>(), out_width = call.out_width();
  int64_t column = 0;
  for (; column + kWide <= out_width; column += kWide) {
    for (int64_t row = 0; row < in_width; row += kRows) {
      Unit::template Transposed<kRows, Unit::kPanels>(
          {a.data(), row, b.data(), column, pairs, sums + row * out_width + column, out_width});
    }
  }
  for (; column < out_width; column += kPanel) {
    int64_t row = 0;
    for (; row + kManyRows <= in_width; row += kManyRows) {
      Unit::template Transposed<kManyRows, 1>(
          {a.data(), row, b.data(), column, pairs, sums + row * out_width + column, out_width});
    }
    for (; row < in_width; row += kRows) {
      Unit::template Transposed<kRows, 1>(
          {a.data(), row, b.data(), column, pairs, sums + row * out_width + column, out_width});
    }
  }
}

template <typename Unit>
void WeightGradient(const GradientCall& call, float* gradient, ParallelFor parallel) {
  // Few enough pairs that both sides' rows stay in the first cache while all channels meet all.
  constexpr int64_t kChunk = 64;
  // Sums of so many positions at once that they stay in the second cache while a block's rows, which the positions
  // share, are there, too.
  constexpr int64_t kGroupBytes = 512 << 10;
  // Blocks are cut into slices with sums of their own, all together of so many bytes, whatever the number of threads:
  // so results do not depend on it.
  constexpr int64_t kSlicesBytes = 8 << 20, kMinSlices = 4, kMaxSlices = 32;
  const Rulebook& book = call.rulebook;
  const int64_t position_floats = call.in_width<Unit>() * call.out_width();
  const int64_t volume_bytes = std::max<int64_t>(book.volume, 1) * position_floats * sizeof(float);
  const int64_t slices = std::clamp<int64_t>(std::clamp(kSlicesBytes / volume_bytes, kMinSlices, kMaxSlices), 1,
                                             std::max<int64_t>(book.blocks(), 1));
  const int64_t group =
      std::clamp<int64_t>(kGroupBytes / (position_floats * sizeof(float)), 1, std::max(book.volume, 1));
  const int64_t groups = (book.volume + group - 1) / group;
  const auto all_sums = std::make_unique_for_overwrite<float[]>(slices * book.volume * position_floats);
  parallel(slices * groups, [&](int64_t begin, int64_t end) {
    ChunkRows a(call.input, call.in_channels, call.in_width<Unit>(), kChunk);
    ChunkRows b(call.grad_output, call.out_channels, call.out_width(), kChunk);
    for (int64_t task = begin; task < end; ++task) {
      const int64_t slice = task / groups, first = task % groups * group;
      const int64_t last = std::min<int64_t>(first + group, book.volume);
      float* const sums = all_sums.get() + (slice * book.volume + first) * position_floats;
      std::fill_n(sums, (last - first) * position_floats, 0.0f);
      for (int64_t block = book.blocks() * slice / slices; block < book.blocks() * (slice + 1) / slices; ++block) {
        for (int64_t position = first; position < last; ++position) {
          const int64_t* const range = &book.starts[block * book.volume + position];
          for (int64_t pair = range[0]; pair < range[1]; pair += kChunk) {
            const int64_t pairs = std::min(kChunk, range[1] - pair);
            a.Set(&book.in[pair], pairs);
            b.Set(&book.out[pair], pairs);
            AddChunk<Unit>(call, a, b, pairs, sums + (position - first) * position_floats);
          }
        }
      }
    }
  });
  parallel(book.volume * call.in_channels, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* from =
          all_sums.get() + row / call.in_channels * position_floats + row % call.in_channels * call.out_width();
      float* const to = gradient + row * call.out_channels;
      std::copy_n(from, call.out_channels, to);
      for (int64_t slice = 1; slice < slices; ++slice) {
        from += book.volume * position_floats;
        for (int64_t out = 0; out < call.out_channels; ++out) to[out] += from[out];
      }
    }
  });
}

}  // namespace

PackedWeights::PackedWeights(const float* weights, int32_t volume, int64_t in_channels, int64_t out_channels,
                             const WeightStrides& strides)
    : in_channels_(in_channels), out_channels_(out_channels), values_(volume * panels() * in_channels * kPanel) {
  for (int32_t position = 0; position < volume; ++position) {
    for (int64_t out = 0; out < out_channels; ++out) {
      float* const panel = values_.data() + (position * panels() + out / kPanel) * in_channels * kPanel + out % kPanel;
      const float* const from = weights + position * strides.positions + out * strides.outs;
      for (int64_t in = 0; in < in_channels; ++in) panel[in * kPanel] = from[in * strides.ins];
    }
  }
}

void SparseConvForward(const Rulebook& rulebook, const float* input, const PackedWeights& weights, const float* bias,
                       float* output, int64_t begin, int64_t end) {
  const ForwardCall call{rulebook, input, weights, bias, output, begin, end};
#if defined(__x86_64__)
  if (Avx512::Present()) return Forward<Avx512>(call);
  if (Avx2::Present()) return Forward<Avx2>(call);
#endif
  Forward<Portable>(call);
}

void SparseConvWeightGradient(const Rulebook& rulebook, const float* input, int64_t in_channels,
                              const float* grad_output, int64_t out_channels, float* gradient, ParallelFor parallel) {
  const GradientCall call{rulebook, input, in_channels, grad_output, out_channels};
#if defined(__x86_64__)
  if (Avx512::Present()) return WeightGradient<Avx512>(call, gradient, parallel);
  if (Avx2::Present()) return WeightGradient<Avx2>(call, gradient, parallel);
#endif
  WeightGradient<Portable>(call, gradient, parallel);
}

}  // namespace kd
