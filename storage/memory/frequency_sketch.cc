#include "storage/memory/frequency_sketch.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/rng.h"

namespace kd {

FrequencySketch::FrequencySketch(size_t counters, uint64_t sample)
    : mask_(std::bit_ceil(counters) - 1), sample_(sample), counters_(kRows * (mask_ + 1)) {}

std::array<size_t, FrequencySketch::kRows> FrequencySketch::Slots(absl::string_view key) const {
  CounterRng rng(RngKeyBuilder().Add(key).key());
  std::array<size_t, kRows> slots;
  for (int row = 0; row < kRows; ++row) slots[row] = row * (mask_ + 1) + (rng.Next() & mask_);
  return slots;
}

void FrequencySketch::Add(absl::string_view key) {
  for (const size_t slot : Slots(key)) {
    if (counters_[slot] < std::numeric_limits<uint8_t>::max()) ++counters_[slot];
  }
  if (++added_ < sample_) return;
  added_ = 0;
  for (uint8_t& counter : counters_) counter /= 2;
}

int FrequencySketch::Estimate(absl::string_view key) const {
  int least = std::numeric_limits<uint8_t>::max();
  for (const size_t slot : Slots(key)) least = std::min<int>(least, counters_[slot]);
  return least;
}

}  // namespace kd
