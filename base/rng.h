// Random numbers that are a pure function of a key and a counter, the same on every machine.
#ifndef KD_BASE_RNG_H_
#define KD_BASE_RNG_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace kd {

// 64-bit key of several parts: RngKey("view", seed, sample, view). FNV-1a over a length-prefixed encoding; integers are
// widened to 64 bits first, so the type of an argument never changes the key.
class RngKeyBuilder {
 public:
  RngKeyBuilder& Add(absl::string_view text);
  RngKeyBuilder& Add(uint64_t number);
  uint64_t key() const { return hash_; }

 private:
  void AddByte(unsigned char byte) { hash_ = (hash_ ^ byte) * 0x100000001b3u; }
  uint64_t hash_ = 0xcbf29ce484222325u;
};

// SplitMix64 over `key` + counter. Not for secrets.
class CounterRng {
 public:
  explicit CounterRng(uint64_t key) : state_(key) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // In [0, 1), 53 random bits.
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }
  // In [0, n), n > 0, unbiased.
  uint64_t Below(uint64_t n);
  // Mean 0, deviation 1 (Box-Muller, one value per call).
  double Normal();
  // Poisson with a small mean (product of uniforms).
  int Poisson(double mean);

 private:
  uint64_t state_;
};

}  // namespace kd

#endif  // KD_BASE_RNG_H_
