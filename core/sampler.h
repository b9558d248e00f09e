// The order in which a job sees frames and views: a function of (seed, epoch), so that server, worker and a resumed
// worker agree.
#ifndef KD_CORE_SAMPLER_H_
#define KD_CORE_SAMPLER_H_

#include <cstdint>
#include <vector>

namespace kd {

struct SamplerOptions {
  uint64_t seed = 0;
  uint32_t num_samples = 0;
  // Views 1..views are used in turn, from a start that differs by sample; 0: always view 0.
  uint32_t views = 0;
  uint32_t batch_size = 1;
  uint32_t world_size = 1;
};

struct SampleView {
  uint32_t sample;  // index into the split
  uint32_t view;

  friend bool operator==(const SampleView&, const SampleView&) = default;
};

// Steps per epoch: num_samples / (batch_size * world_size), rounded down (the rest of the permutation is dropped), at
// least 1 (a small data set is repeated).
uint64_t StepsPerEpoch(const SamplerOptions& options);

// What `rank` trains on in `epoch`: StepsPerEpoch * batch_size entries. Fisher-Yates permutation keyed by (seed,
// epoch).
std::vector<SampleView> EpochOrder(const SamplerOptions& options, uint32_t epoch, uint32_t rank);

}  // namespace kd

#endif  // KD_CORE_SAMPLER_H_
