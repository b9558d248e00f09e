#include "data/quantiles.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(QuantilesTest, NumbersOfAnySizeAndSignAreFoundWithinTheirPrecision) {
  CounterRng rng(1);
  std::vector<float> values;
  Quantiles quantiles;
  for (int i = 0; i < 1001; ++i) {
    const double size = std::pow(10, rng.Uniform(-6, 6));
    values.push_back(static_cast<float>(rng.Uniform() < 0.3 ? -size : size));
    quantiles.Add(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const int percent : {0, 1, 5, 25, 50, 75, 95, 99, 100}) {
    const size_t rank = std::max<size_t>(1, static_cast<size_t>(std::ceil(percent / 100.0 * 1001)));
    const double exact = values[rank - 1];
    EXPECT_NEAR(quantiles.At(percent / 100.0), exact, std::abs(exact) / 256) << percent;
  }
}

TEST(QuantilesTest, ZeroIsZero) {
  Quantiles quantiles;
  EXPECT_EQ(quantiles.At(0.5), 0);
  quantiles.Add(0.0f);
  EXPECT_EQ(quantiles.At(0.5), 0);
}

TEST(QuantilesTest, PartsAddUp) {
  Quantiles whole, first, second;
  for (int i = 0; i < 100; ++i) {
    whole.Add(static_cast<float>(i));
    (i % 3 == 0 ? first : second).Add(static_cast<float>(i));
  }
  first.Add(second);
  for (const double share : {0.0, 0.1, 0.5, 0.9, 1.0}) EXPECT_EQ(first.At(share), whole.At(share));
}

}  // namespace
}  // namespace kd
