#include "eval/kitti.h"

#include <cmath>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "eval/center_distance.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

class KittiGolden : public ::testing::TestWithParam<std::string> {};

// Curves of the official development kit.
TEST_P(KittiGolden, EveryNumberMatches) {
  std::string folder = SourceDir() + "/tests/golden/kitti/" + GetParam();
  if (!std::filesystem::exists(folder)) folder = SharedPath("golden/kitti/" + GetParam());  // holds real label files
  KD_REQUIRE_FILE(folder);
  const auto frames = ReadKittiFrames(folder + "/label_2", folder + "/data", "");
  ASSERT_THAT(frames, IsOk());
  const auto got = nlohmann::json::parse(KittiResultToJson(EvaluateKitti(*frames)));
  const auto want = nlohmann::json::parse(*ReadFile(folder + "/expected.json"));
  int compared = 0;
  for (const auto& [set, classes] : want.items()) {
    ASSERT_EQ(got[set].size(), classes.size());
    for (const auto& [name, metrics] : classes.items()) {
      ASSERT_EQ(got[set][name].size(), metrics.size());
      for (const auto& [metric, difficulties] : metrics.items()) {
        for (const auto& [difficulty, expected] : difficulties.items()) {
          const auto& actual = got[set][name][metric][difficulty];
          EXPECT_NEAR(actual["R40"].get<double>(), expected["R40"].get<double>(), 1e-6)
              << set << name << metric << difficulty;
          EXPECT_NEAR(actual["R11"].get<double>(), expected["R11"].get<double>(), 1e-6)
              << set << name << metric << difficulty;
          for (int i = 0; i < 41; ++i)
            EXPECT_NEAR(actual["curve"][i].get<double>(), expected["curve"][i].get<double>(), 1e-8);
          ++compared;
        }
      }
    }
  }
  EXPECT_GE(compared, 2 * 2 * 3 * 3);
}

INSTANTIATE_TEST_SUITE_P(All, KittiGolden,
                         ::testing::Values("k01_small", "k02_ties", "k03_neighbours", "k04_dontcare", "k05_real_labels",
                                           "k06_no_alpha"));

Detection At(float x, float score, int label = 0) {
  return {.box = {.x = x, .dx = 1, .dy = 1, .dz = 1}, .label = label, .score = score};
}
LabeledBox Truth(float x, int label = 0) { return {.box = {.x = x, .dx = 1, .dy = 1, .dz = 1}, .label = label}; }

TEST(CenterDistanceTest, PerfectDetectionsScoreOneHundred) {
  const auto result = EvaluateCenterDistance({{At(1, 0.9f), At(9, 0.8f)}}, {{Truth(1), Truth(9)}}, 1);
  EXPECT_NEAR(result.mean_ap, 100, 1e-9);
}

TEST(CenterDistanceTest, HandComputedCase) {
  // By score: hit, miss, hit of two labels. Precision envelope 1 up to recall 0.5, then 2/3: 51 steps of 1, 50 of 2/3.
  const auto result = EvaluateCenterDistance({{At(1, 0.9f), At(30, 0.8f), At(9, 0.7f)}}, {{Truth(1), Truth(9)}}, 1);
  EXPECT_NEAR(result.ap[0][0], 100 * (51 + 50 * 2.0 / 3) / 101, 1e-9);
}

TEST(CenterDistanceTest, DistanceDecidesAndAClassWithoutLabelsIsLeftOut) {
  const auto result = EvaluateCenterDistance({{At(1.7f, 0.9f), At(5, 0.5f, 1)}}, {{Truth(1)}}, 2);
  EXPECT_NEAR(result.ap[0][0], 0, 1e-9);
  EXPECT_NEAR(result.ap[0][1], 100, 1e-9);
  EXPECT_TRUE(std::isnan(result.ap[1][0]));
  EXPECT_NEAR(result.mean_ap, 200.0 / 3, 1e-9);
}

TEST(CenterDistanceTest, ALabelIsTakenOnce) {
  const auto result = EvaluateCenterDistance({{At(1, 0.9f), At(1, 0.8f)}}, {{Truth(1), Truth(20)}}, 1);
  EXPECT_NEAR(result.ap[0][2], 100 * 51.0 / 101, 1e-9);
}

}  // namespace
}  // namespace kd
