#include "core/sampler.h"

#include <algorithm>
#include <set>
#include <vector>

#include "core/response_key.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

constexpr SamplerOptions kOptions{.seed = 3, .num_samples = 40, .views = 4, .batch_size = 4, .world_size = 1};

TEST(SamplerTest, AnEpochShowsEverySampleOnce) {
  std::set<uint32_t> seen;
  for (const SampleView& item : EpochOrder(kOptions, 5, 0)) EXPECT_TRUE(seen.insert(item.sample).second);
  EXPECT_EQ(seen.size(), 40u);
}

TEST(SamplerTest, TheSameArgumentsGiveTheSameOrderAndOthersAnother) {
  EXPECT_EQ(EpochOrder(kOptions, 1, 0), EpochOrder(kOptions, 1, 0));
  EXPECT_NE(EpochOrder(kOptions, 1, 0), EpochOrder(kOptions, 2, 0));
  SamplerOptions other = kOptions;
  other.seed = 4;
  EXPECT_NE(EpochOrder(kOptions, 1, 0), EpochOrder(other, 1, 0));
}

TEST(SamplerTest, AfterAsManyEpochsAsViewsEveryPairWasSeenOnce) {
  std::set<std::pair<uint32_t, uint32_t>> seen;
  for (uint32_t epoch = 0; epoch < 4; ++epoch) {
    for (const SampleView& item : EpochOrder(kOptions, epoch, 0)) {
      EXPECT_GE(item.view, 1u);
      EXPECT_LE(item.view, 4u);
      EXPECT_TRUE(seen.emplace(item.sample, item.view).second);
    }
  }
  EXPECT_EQ(seen.size(), 160u);
}

TEST(SamplerTest, RanksShareAnEpochWithoutOverlap) {
  SamplerOptions options = kOptions;
  options.world_size = 2;
  std::set<uint32_t> seen;
  for (uint32_t rank = 0; rank < 2; ++rank) {
    for (const SampleView& item : EpochOrder(options, 0, rank)) EXPECT_TRUE(seen.insert(item.sample).second);
  }
  EXPECT_EQ(seen.size(), 40u);
}

TEST(SamplerTest, RanksTakeEquallyManyStepsWhenTheEpochDoesNotDivide) {
  SamplerOptions options = kOptions;
  options.num_samples = 43;
  options.world_size = 3;
  std::set<uint32_t> seen;
  for (uint32_t rank = 0; rank < 3; ++rank) {
    const auto order = EpochOrder(options, 1, rank);
    EXPECT_EQ(order.size(), 12u) << "three steps of four; seven samples sit this epoch out";
    for (const SampleView& item : order) EXPECT_TRUE(seen.insert(item.sample).second);
  }
}

TEST(SamplerTest, ATinyDataSetIsRepeatedToFillOneStep) {
  SamplerOptions options = kOptions;
  options.num_samples = 3;
  options.views = 0;
  const auto order = EpochOrder(options, 0, 0);
  ASSERT_EQ(order.size(), 4u);
  EXPECT_EQ(order[0], order[3]);
  EXPECT_EQ(order[0].view, 0u);
}

TEST(ResponseKeyTest, EveryPartChangesTheKey) {
  const ResponseScope scope{.teacher_digest = "t", .dataset_digest = "d", .view_profile = "p"};
  const std::set<std::string> keys = {ResponseKey(scope, "1", 2, "hm.0"),
                                      ResponseKey({"u", "d", "p"}, "1", 2, "hm.0"),
                                      ResponseKey({"t", "e", "p"}, "1", 2, "hm.0"),
                                      ResponseKey({"t", "d", "q"}, "1", 2, "hm.0"),
                                      ResponseKey({"t", "d", "p", 2}, "1", 2, "hm.0"),
                                      ResponseKey({"t", "d", "p", 3}, "1", 2, "hm.0"),
                                      ResponseKey(scope, "12", 2, "hm.0"),
                                      ResponseKey(scope, "1", 22, "hm.0"),
                                      ResponseKey(scope, "1", 2, "hm.1")};
  EXPECT_EQ(keys.size(), 9u);
  EXPECT_EQ(keys.begin()->size(), 32u);
}

}  // namespace
}  // namespace kd
