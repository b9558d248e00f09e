// How often keys were seen lately, in a few bytes a key.
#ifndef KD_STORAGE_MEMORY_FREQUENCY_SKETCH_H_
#define KD_STORAGE_MEMORY_FREQUENCY_SKETCH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"

namespace kd {

// A count-min sketch whose counts are halved from time to time: four counters a key, of which the smallest is the
// estimate. It is never too low, and too high only when keys collide in all four rows. Not thread-safe.
class FrequencySketch {
 public:
  // `counters` is rounded up to a power of two; all counts are halved after every `sample` calls of Add.
  FrequencySketch(size_t counters, uint64_t sample);

  void Add(absl::string_view key);
  // At most 255.
  int Estimate(absl::string_view key) const;

 private:
  static constexpr int kRows = 4;
  std::array<size_t, kRows> Slots(absl::string_view key) const;

  const size_t mask_;
  const uint64_t sample_;
  std::vector<uint8_t> counters_;
  uint64_t added_ = 0;
};

}  // namespace kd

#endif  // KD_STORAGE_MEMORY_FREQUENCY_SKETCH_H_
