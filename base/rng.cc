#include "base/rng.h"

#include <cmath>

namespace kd {

RngKeyBuilder& RngKeyBuilder::Add(absl::string_view text) {
  Add(static_cast<uint64_t>(text.size()));
  for (const char c : text) AddByte(static_cast<unsigned char>(c));
  return *this;
}

RngKeyBuilder& RngKeyBuilder::Add(uint64_t number) {
  for (int shift = 0; shift < 64; shift += 8) AddByte(static_cast<unsigned char>(number >> shift));
  return *this;
}

uint64_t CounterRng::Below(uint64_t n) {
  const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
  uint64_t value;
  do {
    value = Next();
  } while (value >= limit);
  return value % n;
}

double CounterRng::Normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
  return radius * std::cos(2.0 * M_PI * Uniform());
}

int CounterRng::Poisson(double mean) {
  const double limit = std::exp(-mean);
  int count = 0;
  for (double product = Uniform(); product > limit; product *= Uniform()) ++count;
  return count;
}

}  // namespace kd
