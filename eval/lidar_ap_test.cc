#include "eval/lidar_ap.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace kd {
namespace {

Box3d At(float x, float y = 0) { return {x, y, 0, 4, 2, 1.5f, 0}; }

TEST(LidarApTest, AWrongBoxAboveAllOthersHalvesThePrecisionOfTheFirstRecall) {
  // One frame, two objects; found: nothing at 0.9, the first at 0.8, the second at 0.7. Precision 1/2, then 2/3: the
  // larger one holds for every recall.
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(10)}, {.box = At(20)}}};
  const std::vector<std::vector<Detection>> found = {
      {{.box = At(15), .score = 0.9f}, {.box = At(10), .score = 0.8f}, {.box = At(20), .score = 0.7f}}};
  const auto scores = EvaluateLidarAp(found, truth, 1);
  EXPECT_NEAR(scores[0].bev[0][0], 100 * 2.0 / 3, 1e-9);
  EXPECT_NEAR(scores[0].box3d[0][1], 100 * 2.0 / 3, 1e-9);
}

TEST(LidarApTest, AFoundHalfGivesTwentyOfFortyRecalls) {
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(10)}}, {{.box = At(10)}}};
  const auto scores = EvaluateLidarAp({{{.box = At(10), .score = 0.5f}}, {}}, truth, 1);
  EXPECT_NEAR(scores[0].box3d[0][0], 50, 1e-9);
}

TEST(LidarApTest, ABoxTooFarBelowMatchesFromAboveOnly) {
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(10)}}};
  Box3d low = At(10);
  low.z -= 1;
  const auto scores = EvaluateLidarAp({{{.box = low, .score = 0.5f}}}, truth, 1);
  EXPECT_DOUBLE_EQ(scores[0].bev[0][1], 100);
  EXPECT_DOUBLE_EQ(scores[0].box3d[0][0], 0);
}

TEST(LidarApTest, OverlapsBetweenTheLimitsMatchOneOfThem) {
  // 4 m boxes 1 m apart overlap by 3 of 5.
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(10)}}};
  const auto scores = EvaluateLidarAp({{{.box = At(11), .score = 0.5f}}}, truth, 1);
  EXPECT_DOUBLE_EQ(scores[0].bev[0][0], 100);
  EXPECT_DOUBLE_EQ(scores[0].bev[0][1], 0);
}

TEST(LidarApTest, OneObjectIsFoundOnce) {
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(10)}, {.box = At(20)}}};
  // The double stands between the two matches: precisions 1, 1/2, 2/3.
  const auto scores = EvaluateLidarAp(
      {{{.box = At(10), .score = 0.9f}, {.box = At(10), .score = 0.8f}, {.box = At(20), .score = 0.7f}}}, truth, 1);
  EXPECT_NEAR(scores[0].box3d[0][0], 50 * (1 + 2.0 / 3), 1e-9);
}

TEST(LidarApTest, AMatchCountsInItsObjectsBinAndAMistakeInItsOwn) {
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(29.9f)}, {.box = At(40)}, {.box = At(70)}}};
  const auto scores = EvaluateLidarAp(
      {{{.box = At(30.1f), .score = 0.9f}, {.box = At(35), .score = 0.8f}, {.box = At(40), .score = 0.7f}}}, truth, 1);
  EXPECT_DOUBLE_EQ(scores[0].bev[1][0], 100);
  EXPECT_DOUBLE_EQ(scores[0].bev[2][0], 50);
  EXPECT_DOUBLE_EQ(scores[0].bev[3][0], 0);
}

TEST(LidarApTest, ClassesAreApartAndEmptyBinsHaveNoScore) {
  const std::vector<std::vector<LabeledBox>> truth = {{{.box = At(10), .label = 1}}};
  const auto scores = EvaluateLidarAp({{{.box = At(10), .label = 0, .score = 0.9f}}}, truth, 2);
  EXPECT_TRUE(std::isnan(scores[0].bev[0][0]));
  EXPECT_DOUBLE_EQ(scores[1].bev[0][0], 0);
  EXPECT_TRUE(std::isnan(scores[1].bev[3][0]));
}

}  // namespace
}  // namespace kd
