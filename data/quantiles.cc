#include "data/quantiles.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

namespace kd {
namespace {

constexpr uint32_t kSign = 0x80000000, kHalfStep = 0x8000;
constexpr float kLeast = 1e-30f;

// The middle of what has this key; 0 for what is as good as 0.
double ValueOf(uint16_t key) {
  const uint32_t ascending = uint32_t{key} << 16 | kHalfStep;
  const auto value = std::bit_cast<float>((ascending & kSign) != 0 ? ascending ^ kSign : ~ascending);
  return std::abs(value) < kLeast ? 0 : value;
}

}  // namespace

void Quantiles::Add(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t ascending = (bits & kSign) != 0 ? ~bits : bits ^ kSign;
  ++counts_[static_cast<uint16_t>(ascending >> 16)];
}

void Quantiles::Add(const Quantiles& other) {
  for (const auto& [key, count] : other.counts_) counts_[key] += count;
}

double Quantiles::At(double share) const {
  std::vector<std::pair<uint16_t, uint64_t>> sorted(counts_.begin(), counts_.end());
  std::sort(sorted.begin(), sorted.end());
  uint64_t all = 0, below = 0;
  for (const auto& [key, count] : sorted) all += count;
  const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share * static_cast<double>(all))));
  for (const auto& [key, count] : sorted) {
    below += count;
    if (below >= wanted) return ValueOf(key);
  }
  return 0;
}

}  // namespace kd
