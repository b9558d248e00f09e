#include "ops/anchors.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"
#include "ops/rotated_iou.h"

namespace kd {
namespace {

constexpr std::array<float, 6> kRange = {0, -8, -3, 16, 8, 1};

std::vector<AnchorClass> Classes() {
  return {{.sizes = {{3.9f, 1.6f, 1.56f}}, .rotations = {0, 1.57f}, .bottom_height = -1.78f},
          {.sizes = {{0.8f, 0.6f, 1.73f}},
           .rotations = {0, 1.57f},
           .bottom_height = -0.6f,
           .matched_threshold = 0.5f,
           .unmatched_threshold = 0.35f}};
}

TEST(AnchorGridTest, RunsOverClassesAndRotationsInEveryCell) {
  const AnchorGrid grid(Classes(), kRange, 5, 9);
  ASSERT_EQ(grid.per_cell(), 4);
  ASSERT_EQ(grid.size(), 5u * 9 * 4);
  const auto box = [&](size_t i) { return std::vector<float>(&grid.boxes()[i * 7], &grid.boxes()[i * 7] + 7); };
  EXPECT_EQ(box(0), (std::vector<float>{0, -8, -1.78f + 0.78f, 3.9f, 1.6f, 1.56f, 0}));
  EXPECT_EQ(box(1)[6], 1.57f);
  EXPECT_EQ(box(2)[3], 0.8f);
  // The last one lies on the border of the range.
  EXPECT_EQ(box(grid.size() - 1)[0], 16);
  EXPECT_EQ(box(grid.size() - 1)[1], 8);
}

TEST(AnchorGridTest, CentredAnchorsLieInTheMiddleOfCells) {
  std::vector<AnchorClass> classes = Classes();
  for (AnchorClass& c : classes) c.align_center = true;
  const AnchorGrid grid(classes, kRange, 4, 8);
  EXPECT_EQ(grid.boxes()[0], 1);
  EXPECT_EQ(grid.boxes()[1], -6);
}

// The definition, anchor by anchor against all boxes of its class.
AnchorTargets PlainAssign(const AnchorGrid& grid, const std::vector<float>& gt, bool match_height) {
  const size_t count = gt.size() / 8;
  AnchorTargets targets{std::vector<int64_t>(grid.size(), -1), std::vector<float>(grid.size() * 7, 0)};
  const auto class_of = [&](size_t anchor) { return static_cast<int64_t>(anchor) % grid.per_cell() / 2 + 1; };
  const auto overlap = [&](size_t a, size_t g) {
    const float *box = &grid.boxes()[a * 7], *other = &gt[g * 8];
    if (other[7] != static_cast<float>(class_of(a))) return 0.0f;
    return match_height ? static_cast<float>(Iou3d(box, other))
                        : AlignedIou(NearestAlignedBox(box), NearestAlignedBox(other));
  };
  std::vector<float> best_of_gt(count, 0);
  for (size_t g = 0; g < count; ++g) {
    for (size_t a = 0; a < grid.size(); ++a) best_of_gt[g] = std::max(best_of_gt[g], overlap(a, g));
  }
  for (size_t a = 0; a < grid.size(); ++a) {
    const AnchorClass& c = grid.classes()[class_of(a) - 1];
    float best = 0;
    size_t best_gt = 0;
    bool forced = false;
    for (size_t g = 0; g < count; ++g) {
      const float o = overlap(a, g);
      if (o > best) best_gt = g;
      best = std::max(best, o);
      forced = forced || (o > 0 && o == best_of_gt[g]);
    }
    targets.labels[a] = forced || best >= c.matched_threshold ? class_of(a) : best < c.unmatched_threshold ? 0 : -1;
    if (targets.labels[a] > 0) ResidualCoder().Encode(&gt[best_gt * 8], &grid.boxes()[a * 7], &targets.codes[a * 7]);
  }
  return targets;
}

class AssignAnchorsTest : public testing::TestWithParam<bool> {};

TEST_P(AssignAnchorsTest, AgreesWithTheDefinitionOnRandomScenes) {
  const AnchorGrid grid(Classes(), kRange, 16, 16);
  CounterRng rng(3);
  for (int round = 0; round < 40; ++round) {
    std::vector<float> gt;
    const int boxes = static_cast<int>(rng.Uniform(0, 12));
    for (int i = 0; i < boxes; ++i) {
      const bool car = rng.Uniform(0, 1) < 0.5;
      for (const double value :
           {rng.Uniform(-1, 17), rng.Uniform(-9, 9), rng.Uniform(-1.5, 0), rng.Uniform(0.8, 1.2) * (car ? 3.9 : 0.8),
            rng.Uniform(0.8, 1.2) * (car ? 1.6 : 0.6), rng.Uniform(1.4, 1.8), rng.Uniform(-4, 4), car ? 1.0 : 2.0}) {
        gt.push_back(static_cast<float>(value));
      }
    }
    gt.resize(gt.size() + 16, 0);  // padding
    const AnchorTargets got = AssignAnchors(grid, gt.data(), gt.size() / 8, {.match_height = GetParam()});
    const AnchorTargets want = PlainAssign(grid, gt, GetParam());
    ASSERT_EQ(got.labels, want.labels) << round;
    ASSERT_EQ(got.codes, want.codes) << round;
  }
}

INSTANTIATE_TEST_SUITE_P(Overlaps, AssignAnchorsTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "in_3d" : "nearest_bev"; });

}  // namespace
}  // namespace kd
