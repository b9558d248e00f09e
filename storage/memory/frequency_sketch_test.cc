#include "storage/memory/frequency_sketch.h"

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/rng.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(FrequencySketchTest, IsNeverTooLowAndSeldomTooHigh) {
  FrequencySketch sketch(1024, /*sample=*/1'000'000);
  CounterRng rng(5);
  std::map<std::string, int> truth;
  for (int i = 0; i < 2000; ++i) {
    const std::string key = absl::StrCat("key", rng.Below(500));
    ++truth[key];
    sketch.Add(key);
  }
  int exact = 0;
  for (const auto& [key, count] : truth) {
    EXPECT_GE(sketch.Estimate(key), count) << key;
    exact += sketch.Estimate(key) == count;
  }
  EXPECT_GT(exact, static_cast<int>(truth.size() * 9 / 10));
  EXPECT_EQ(sketch.Estimate("never seen"), 0);
}

TEST(FrequencySketchTest, ForgetsByHalves) {
  FrequencySketch sketch(64, /*sample=*/8);
  for (int i = 0; i < 7; ++i) sketch.Add("often");
  EXPECT_EQ(sketch.Estimate("often"), 7);
  sketch.Add("once");
  EXPECT_EQ(sketch.Estimate("often"), 3);
  EXPECT_EQ(sketch.Estimate("once"), 0);
}

TEST(FrequencySketchTest, StopsCountingInsteadOfWrapping) {
  FrequencySketch sketch(16, /*sample=*/1'000'000);
  for (int i = 0; i < 1000; ++i) sketch.Add("k");
  EXPECT_EQ(sketch.Estimate("k"), 255);
}

}  // namespace
}  // namespace kd
