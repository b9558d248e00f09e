// Percentiles of more numbers than fit in memory.
#ifndef KD_DATA_QUANTILES_H_
#define KD_DATA_QUANTILES_H_

#include <cstdint>

#include "absl/container/flat_hash_map.h"

namespace kd {

// Counts numbers that are the same in sign, exponent and the first seven bits behind the point. What it tells depends
// neither on the order of the numbers nor on how they were divided among several. Not thread-safe.
class Quantiles {
 public:
  // `value` must be finite.
  void Add(float value);
  void Add(const Quantiles& other);

  // A number that `share` (0..1) of all are at most, but for 1/256 of it. 0 when there are none.
  double At(double share) const;

 private:
  // By the upper 16 bits of a float, changed so that they ascend with it.
  absl::flat_hash_map<uint16_t, uint64_t> counts_;
};

}  // namespace kd

#endif  // KD_DATA_QUANTILES_H_
