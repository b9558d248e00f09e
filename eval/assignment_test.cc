#include "eval/assignment.h"

#include <algorithm>
#include <functional>
#include <set>

#include "base/file.h"
#include "base/rng.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using Weights = std::vector<std::vector<int64_t>>;

// Over every way to pair rows from `row` on with columns that are free.
int64_t BestByTrying(const Weights& weights, size_t row, std::vector<bool>& taken) {
  if (row == weights.size()) return 0;
  int64_t best = BestByTrying(weights, row + 1, taken);
  for (size_t j = 0; j < taken.size(); ++j) {
    if (taken[j]) continue;
    taken[j] = true;
    best = std::max(best, weights[row][j] + BestByTrying(weights, row + 1, taken));
    taken[j] = false;
  }
  return best;
}

TEST(AssignmentTest, TheTotalIsTheLargestOfAllPairings) {
  CounterRng rng(7);
  for (int round = 0; round < 2000; ++round) {
    const size_t rows = 1 + rng.Below(6), columns = 1 + rng.Below(6);
    // Few different weights make ties, many zeros make gaps.
    const uint64_t range = round % 2 == 0 ? 4 : 1'000'001;
    Weights weights(rows, std::vector<int64_t>(columns));
    for (auto& row : weights) {
      for (int64_t& weight : row) weight = rng.Below(3) == 0 ? 0 : static_cast<int64_t>(rng.Below(range));
    }
    const std::vector<int> assigned = MaximumWeightAssignment(weights);
    ASSERT_EQ(assigned.size(), rows);
    int64_t total = 0;
    std::set<int> used;
    for (size_t i = 0; i < rows; ++i) {
      if (assigned[i] < 0) continue;
      ASSERT_LT(assigned[i], static_cast<int>(columns));
      ASSERT_TRUE(used.insert(assigned[i]).second) << "a column was given twice";
      ASSERT_GT(weights[i][assigned[i]], 0);
      total += weights[i][assigned[i]];
    }
    std::vector<bool> taken(columns);
    ASSERT_EQ(total, BestByTrying(weights, 0, taken)) << rows << " x " << columns << ", round " << round;
  }
}

TEST(AssignmentTest, NothingIsPairedWithoutRowsColumnsOrWeights) {
  EXPECT_TRUE(MaximumWeightAssignment({}).empty());
  EXPECT_EQ(MaximumWeightAssignment({{}, {}}), (std::vector<int>{-1, -1}));
  EXPECT_EQ(MaximumWeightAssignment({{0, 0}, {0, 0}, {0, 0}}), (std::vector<int>{-1, -1, -1}));
}

// assignments.json: weights of which many rows are equal, and what the matcher of Waymo's tool (at 99a4cb3) made of
// them.
TEST(AssignmentTest, AmongEqualTotalsItIsTheOneOfWaymosTool) {
  const auto cases = nlohmann::json::parse(*ReadFile(SourceDir() + "/tests/golden/waymo/assignments.json"));
  ASSERT_EQ(cases.size(), 120u);
  for (const auto& c : cases) {
    EXPECT_EQ(MaximumWeightAssignment(c["weights"].get<Weights>()), c["columns"].get<std::vector<int>>()) << c;
  }
}

TEST(AssignmentTest, OfEqualRowsTheFirstOneStays) {
  EXPECT_EQ(MaximumWeightAssignment({{7}, {7}, {7}}), (std::vector<int>{0, -1, -1}));
  EXPECT_EQ(MaximumWeightAssignment({{7}, {8}, {7}}), (std::vector<int>{-1, 0, -1}));
}

TEST(AssignmentTest, TwoGoodPairsBeatTheBestOne) {
  EXPECT_EQ(MaximumWeightAssignment({{10, 9}, {9, 0}}), (std::vector<int>{1, 0}));
}

}  // namespace
}  // namespace kd
