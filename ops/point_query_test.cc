#include "ops/point_query.h"

#include <cmath>
#include <vector>

#include "base/rng.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(FarthestPointsTest, TakesTheFarthestOfWhatIsLeft) {
  const float points[] = {0, 0, 0, 1, 0, 0, 5, 0, 0, 5, 1, 0, -3, 0, 0};
  EXPECT_EQ(FarthestPoints(points, 5, 4), (std::vector<int64_t>{0, 3, 4, 1}));
}

TEST(FarthestPointsTest, RepeatsTooFewPointsInOrder) {
  const float points[] = {0, 0, 0, 1, 0, 0};
  EXPECT_EQ(FarthestPoints(points, 2, 5), (std::vector<int64_t>{0, 1, 0, 1, 0}));
}

TEST(BallQueryTest, TakesTheFirstPointsInsideAndPadsWithTheFirst) {
  const float points[] = {9, 0, 0, 0.5f, 0, 0, 0, 0.5f, 0, 0, 0, 1, 0.1f, 0, 0};
  const float queries[] = {0, 0, 0, 100, 0, 0, 9, 0, 0};
  // A point exactly at the radius is outside.
  EXPECT_EQ(BallQuery(points, 5, queries, 3, 1, 2), (std::vector<int64_t>{1, 2, -1, -1, 0, 0}));
  EXPECT_EQ(BallQuery(points, 5, queries, 1, 1, 4), (std::vector<int64_t>{1, 2, 4, 1}));
}

// 0.4f is above 0.4 and 2.8f below 2.8, so 2.8f lies in the seventh cell; their quotient rounds to 7.
TEST(VoxelQueryTest, ACellEndsWhereTheExactQuotientDoes) {
  const SparseSites sites = SparseSites::Sort({{0, 0, 0, 6}, {0, 0, 0, 7}}, 1, {1, 1, 10})->sites;
  const VoxelQueryOptions o{.voxel_size = {0.4f, 1, 1}, .reach = {0, 0, 0}, .radius = 1, .samples = 1};
  const float query[] = {2.8f, 0.5f, 0.5f};
  EXPECT_EQ(VoxelQuery(sites, 0, query, 1, o), (std::vector<int64_t>{0}));
}

TEST(VoxelQueryTest, AgreesWithAScanOfAllCells) {
  CounterRng rng(5);
  const SparseShape shape = {6, 9, 20};
  std::vector<Site> sites;
  for (int32_t frame = 0; frame < 2; ++frame) {
    for (int32_t z = 0; z < shape[0]; ++z) {
      for (int32_t y = 0; y < shape[1]; ++y) {
        for (int32_t x = 0; x < shape[2]; ++x) {
          if (rng.Uniform(0, 1) < 0.15) sites.push_back({frame, z, y, x});
        }
      }
    }
  }
  const SparseSites sorted = SparseSites::Sort(sites, 2, shape)->sites;
  const VoxelQueryOptions o{
      .low = {-2, -1, 0}, .voxel_size = {0.1f, 0.2f, 0.25f}, .stride = 2, .radius = 0.9f, .samples = 5};
  std::vector<float> queries;
  for (int i = 0; i < 200; ++i) {
    for (const double value : {rng.Uniform(-3, 3), rng.Uniform(-2, 4), rng.Uniform(-1, 4)})
      queries.push_back(static_cast<float>(value));
  }
  const std::vector<int64_t> got = VoxelQuery(sorted, 1, queries.data(), 200, o);
  for (size_t q = 0; q < 200; ++q) {
    const float* const query = &queries[q * 3];
    std::vector<int64_t> want;
    for (size_t row = 0; row < sorted.size(); ++row) {
      const Site& s = sorted.sites()[row];
      const int32_t cell[3] = {s.x, s.y, s.z};
      double squared = 0;
      bool near = s.frame == 1;
      for (int axis = 0; axis < 3; ++axis) {
        const int of = static_cast<int>(std::floor(std::floor((query[axis] - o.low[axis]) / o.voxel_size[axis]) / 2));
        near = near && std::abs(cell[axis] - of) <= 4;
        const double d = (cell[axis] + 0.5) * o.voxel_size[axis] * 2 + o.low[axis] - query[axis];
        squared += d * d;
      }
      if (near && squared <= 0.81 && want.size() < 5) want.push_back(static_cast<int64_t>(row));
    }
    const int64_t first = want.empty() ? -1 : want[0];
    want.resize(5, first);
    EXPECT_EQ(std::vector<int64_t>(got.begin() + q * 5, got.begin() + q * 5 + 5), want) << q;
  }
}

}  // namespace
}  // namespace kd
