#include "core/sampler.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/rng.h"

namespace kd {
namespace {

// Views are used in turn, epoch by epoch, from a start that differs by sample: after `views` epochs a sample was seen
// in every view once.
uint32_t ViewOf(const SamplerOptions& options, uint32_t sample, uint32_t epoch) {
  if (options.views == 0) return 0;
  const uint64_t start =
      CounterRng(RngKeyBuilder().Add("view turn").Add(options.seed).Add(sample).key()).Below(options.views);
  return 1 + static_cast<uint32_t>((start + epoch) % options.views);
}

}  // namespace

uint64_t StepsPerEpoch(const SamplerOptions& options) {
  const uint64_t per_step = uint64_t{options.batch_size} * options.world_size;
  return std::max<uint64_t>(1, options.num_samples / per_step);
}

std::vector<SampleView> EpochOrder(const SamplerOptions& options, uint32_t epoch, uint32_t rank) {
  std::vector<uint32_t> permutation(options.num_samples);
  std::iota(permutation.begin(), permutation.end(), 0u);
  CounterRng rng(RngKeyBuilder().Add("epoch order").Add(options.seed).Add(epoch).key());
  for (size_t i = permutation.size(); i > 1; --i) std::swap(permutation[i - 1], permutation[rng.Below(i)]);

  std::vector<SampleView> order;
  if (permutation.empty()) return order;
  const uint64_t steps = StepsPerEpoch(options);
  order.reserve(steps * options.batch_size);
  for (uint64_t step = 0; step < steps; ++step) {
    for (uint32_t i = 0; i < options.batch_size; ++i) {
      const uint64_t position = (step * options.world_size + rank) * options.batch_size + i;
      const uint32_t sample = permutation[position % permutation.size()];
      order.push_back({.sample = sample, .view = ViewOf(options, sample, epoch)});
    }
  }
  return order;
}

}  // namespace kd
