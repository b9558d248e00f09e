// Which input row feeds which output row through which kernel position.
#ifndef KD_OPS_SPARSE_RULEBOOK_H_
#define KD_OPS_SPARSE_RULEBOOK_H_

#include <cstdint>
#include <vector>

#include "ops/parallel.h"
#include "ops/sparse_sites.h"

namespace kd {

// Pairs are grouped by blocks of kBlockRows output rows, inside a block by kernel position, and ascend by output row
// there: a block's results stay in cache while all kernel positions add to them, and blocks share nothing.
struct Rulebook {
  static constexpr int64_t kBlockRows = 256;

  int64_t num_in = 0, num_out = 0;
  int32_t volume = 0;
  std::vector<int32_t> in, out;
  // First pair of (block, position) at block * volume + position; one more entry for the end.
  std::vector<int64_t> starts;

  int64_t blocks() const { return (num_out + kBlockRows - 1) / kBlockRows; }
  int64_t size() const { return static_cast<int64_t>(in.size()); }
};

// Pairs of a convolution from `input` to `output` sites: through position k = i - o * stride + padding on every axis.
// A submanifold convolution passes the same sites twice.
Rulebook BuildRulebook(const SparseSites& input, const SparseSites& output, const ConvGeometry& geometry,
                       ParallelFor parallel = SerialFor);

// The same pairs with input and output exchanged: of an inverse convolution, and of gradients with respect to inputs.
Rulebook Transposed(const Rulebook& rulebook);

}  // namespace kd

#endif  // KD_OPS_SPARSE_RULEBOOK_H_
