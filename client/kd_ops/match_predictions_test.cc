#include "client/kd_ops/match_predictions.h"

#include <algorithm>

#include "gtest/gtest.h"

namespace kd {
namespace {

constexpr double kRtol = 1e-3, kAtol = 0;

// Boxes of one frame; only their x differs.
TensorMap Frame(const std::vector<float>& x, const std::vector<float>& scores, const std::vector<int64_t>& labels) {
  torch::Tensor boxes = torch::ones({static_cast<int64_t>(x.size()), 7});
  boxes.select(1, 0).copy_(torch::tensor(x));
  return {{"out.pred.0.pred_boxes", boxes},
          {"out.pred.0.pred_scores", torch::tensor(scores)},
          {"out.pred.0.pred_labels", torch::tensor(labels, torch::kInt64)}};
}

bool Same(const TensorMap& a, const TensorMap& b) {
  return std::all_of(a.begin(), a.end(), [&b](const auto& entry) { return entry.second.equal(b.at(entry.first)); });
}

TEST(MatchPredictionsTest, SwapsBoxesWhoseScoresAreWithinTolerance) {
  const TensorMap want = Frame({1, 2, 3}, {0.9f, 0.5f, 0.4999f}, {1, 1, 2});
  EXPECT_TRUE(Same(MatchPredictions(Frame({1, 3, 2}, {0.9f, 0.4999f, 0.5f}, {1, 2, 1}), want, kRtol, kAtol), want));
}

TEST(MatchPredictionsTest, KeepsTheOrderOfBoxesWhoseScoresAreFarApart) {
  const TensorMap got = Frame({2, 1}, {0.9f, 0.5f}, {1, 1});
  EXPECT_TRUE(Same(MatchPredictions(got, Frame({1, 2}, {0.9f, 0.5f}, {1, 1}), kRtol, kAtol), got));
}

TEST(MatchPredictionsTest, TakesEveryBoxOnce) {
  const TensorMap got = Frame({1, 7}, {0.5f, 0.5f}, {1, 1});
  EXPECT_TRUE(Same(MatchPredictions(got, Frame({1, 1}, {0.5f, 0.5f}, {1, 1}), kRtol, kAtol), got));
}

TEST(MatchPredictionsTest, DoesNotTakeABoxOfAnotherLabel) {
  const TensorMap got = Frame({2, 1}, {0.5f, 0.5f}, {1, 2});
  EXPECT_TRUE(Same(MatchPredictions(got, Frame({1, 2}, {0.5f, 0.5f}, {1, 2}), kRtol, kAtol), got));
}

TEST(MatchPredictionsTest, LeavesFramesOfAnotherSizeAndEmptyOnes) {
  const TensorMap got = Frame({2, 1}, {0.5f, 0.5f}, {1, 1}), none = Frame({}, {}, {});
  EXPECT_TRUE(Same(MatchPredictions(got, Frame({1}, {0.5f}, {1}), kRtol, kAtol), got));
  EXPECT_TRUE(Same(MatchPredictions(none, none, kRtol, kAtol), none));
  EXPECT_TRUE(MatchPredictions({}, got, kRtol, kAtol).empty());
}

}  // namespace
}  // namespace kd
