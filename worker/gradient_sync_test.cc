// One suite for every form of a GradientSync: threads of this process by hand, and c10d over Gloo.
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "base/status_matchers.h"
#include "server/coordinator/rendezvous_table.h"
#include "worker/fake_gradient_sync.h"
#include "worker/process_group_sync.h"
#include "worker/threads_as_ranks.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr absl::Duration kTimeout = absl::Seconds(30);
constexpr char kPrefix[] = "half-1/1/";

void RunThreads(uint32_t count, const std::function<void(uint32_t)>& body) {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < count; ++i) threads.emplace_back([&body, i] { body(i); });
  for (std::thread& thread : threads) thread.join();
}

ProcessGroupOptions Options(uint32_t rank, uint32_t world_size) {
  return {.rank = rank,
          .world_size = world_size,
          .prefix = kPrefix,
          .timeout = kTimeout,
          .inquiry = absl::Milliseconds(300)};
}

class GradientSyncTest : public ::testing::TestWithParam<bool> {
 protected:
  // Calls `body` for every rank, each in a thread of its own.
  void RunRanks(uint32_t world_size, const std::function<void(GradientSync&)>& body) {
    FakeGroup fake(world_size, kTimeout);
    RendezvousTable table;
    table.Begin(kPrefix);
    RunThreads(world_size, [&](uint32_t rank) {
      if (!GetParam()) {
        FakeGradientSync sync(fake, rank);
        return body(sync);
      }
      auto sync = ProcessGroupSync::Create(Options(rank, world_size), table);
      ASSERT_THAT(sync, IsOk());
      body(**sync);
      ASSERT_THAT((*sync)->Finish(), IsOk());
    });
  }
};
INSTANTIATE_TEST_SUITE_P(Forms, GradientSyncTest, ::testing::Values(false, true),
                         [](const auto& param) { return param.param ? "Gloo" : "Fake"; });

TEST_P(GradientSyncTest, GradientsAreTheMeanOverTheRanks) {
  RunRanks(2, [](GradientSync& sync) {
    const torch::Tensor weight = torch::ones({2}).requires_grad_();
    ASSERT_THAT(sync.Attach({weight}), IsOk());
    // d/dw sum(x * w) = x: (1, 10) on rank 0 and (3, 30) on rank 1.
    const torch::Tensor x = torch::tensor({1.0f, 10.0f}) * (sync.rank() == 0 ? 1 : 3);
    ASSERT_THAT(sync.Backward((x * weight).sum()), IsOk());
    EXPECT_TRUE(torch::equal(weight.grad(), torch::tensor({2.0f, 20.0f}))) << weight.grad();
  });
}

TEST_P(GradientSyncTest, ThreeRanksAgreeBitForBitStepAfterStep) {
  // Large enough for several buckets.
  constexpr int64_t kSide = 900;
  std::vector<std::vector<torch::Tensor>> seen(3);
  RunRanks(3, [&](GradientSync& sync) {
    std::vector<torch::Tensor> weights;
    for (int i = 0; i < 4; ++i) weights.push_back(torch::full({kSide, kSide}, 0.001 * (i + 1)).requires_grad_());
    ASSERT_THAT(sync.Attach(weights), IsOk());
    torch::Tensor x = torch::arange(kSide, torch::kFloat32).unsqueeze(1) / (1000.0 + sync.rank());
    for (int step = 0; step < 3; ++step) {
      torch::Tensor y = x + step;
      for (torch::Tensor& weight : weights) {
        weight.mutable_grad() = torch::Tensor();
        y = torch::mm(weight, y);
      }
      ASSERT_THAT(sync.Backward(y.sum()), IsOk());
      for (const torch::Tensor& weight : weights) seen[sync.rank()].push_back(weight.grad().clone());
    }
  });
  ASSERT_EQ(seen[0].size(), 12u);
  for (size_t i = 0; i < seen[0].size(); ++i) {
    EXPECT_TRUE(torch::equal(seen[0][i], seen[1][i])) << i;
    EXPECT_TRUE(torch::equal(seen[0][i], seen[2][i])) << i;
  }
  EXPECT_FALSE(torch::equal(seen[0][0], seen[0][4])) << "every step has its own gradients";
}

TEST_P(GradientSyncTest, AParameterThatSomeRanksDoNotUseCountsAsZeroThere) {
  RunRanks(2, [](GradientSync& sync) {
    const torch::Tensor always = torch::ones({1}).requires_grad_(), sometimes = torch::ones({1}).requires_grad_(),
                        never = torch::ones({1}).requires_grad_();
    ASSERT_THAT(sync.Attach({always, sometimes, never}), IsOk());
    torch::Tensor loss = 2 * always;
    if (sync.rank() == 1) loss = loss + 8 * sometimes;
    ASSERT_THAT(sync.Backward(loss.sum()), IsOk());
    EXPECT_EQ(always.grad().item<float>(), 2);
    ASSERT_TRUE(sometimes.grad().defined());
    EXPECT_EQ(sometimes.grad().item<float>(), 4);
    EXPECT_FALSE(never.grad().defined());
  });
}

TEST_P(GradientSyncTest, ABroadcastMakesTensorsOfEveryTypeRankZeros) {
  RunRanks(2, [](GradientSync& sync) {
    const auto rank = static_cast<int64_t>(sync.rank());
    const torch::Tensor weight = torch::full({3, 2}, 0.5 + rank).requires_grad_();
    const torch::Tensor count = torch::full({}, 7 + rank, torch::kInt64);
    ASSERT_THAT(sync.Broadcast({weight, count}), IsOk());
    EXPECT_TRUE(torch::equal(weight, torch::full({3, 2}, 0.5)));
    EXPECT_EQ(count.item<int64_t>(), 7);
    ASSERT_THAT(sync.Broadcast({}), IsOk());
  });
}

TEST(ProcessGroupSyncTest, RanksOfOneMachineFindEachOther) {
  RendezvousTable table;
  table.Begin(kPrefix);
  RunThreads(3, [&](uint32_t rank) {
    const auto sync = ProcessGroupSync::Create(Options(rank, 3), table);
    ASSERT_THAT(sync, IsOk());
    EXPECT_EQ((*sync)->ranks_here(), 3u);
    EXPECT_THAT((*sync)->Finish(), IsOk());
  });
}

TEST(ProcessGroupSyncTest, ARankThatDoesNotComeIsNamed) {
  RendezvousTable table;
  table.Begin(kPrefix);
  ProcessGroupOptions options = Options(0, 2);
  options.timeout = absl::Milliseconds(100);
  EXPECT_THAT(ProcessGroupSync::Create(options, table),
              StatusIs(absl::StatusCode::kDeadlineExceeded,
                       AllOf(HasSubstr("rank 0 of 2: meeting"), HasSubstr("half-1/1/rank/1"),
                             Not(HasSubstr("half-1/1/rank/0")))));
}

TEST(ProcessGroupSyncTest, TheEndOfTheGenerationEndsTheMeeting) {
  RendezvousTable table;
  table.Begin(kPrefix);
  absl::Status end;
  std::thread rank([&] { end = ProcessGroupSync::Create(Options(0, 2), table).status(); });
  EXPECT_THAT(table.Get({"half-1/1/rank/0"}, absl::Now() + kTimeout), IsOk());
  table.End(kPrefix);
  rank.join();
  EXPECT_THAT(end, StatusIs(absl::StatusCode::kAborted));
}

TEST(ProcessGroupSyncTest, ARankThatLeavesIsMissedAtOnceAndNamed) {
  RendezvousTable table;
  table.Begin(kPrefix);
  RunThreads(3, [&](uint32_t rank) {
    auto sync = ProcessGroupSync::Create(Options(rank, 3), table);
    ASSERT_THAT(sync, IsOk());
    const torch::Tensor weight = torch::ones({4}).requires_grad_();
    ASSERT_THAT((*sync)->Attach({weight}), IsOk());
    ASSERT_THAT((*sync)->Backward(weight.sum()), IsOk());
    ASSERT_THAT((*sync)->Finish(), IsOk());
    if (rank == 1) return;
    const absl::Time start = absl::Now();
    EXPECT_THAT((*sync)->Backward(weight.sum()),
                StatusIs(absl::StatusCode::kUnavailable,
                         AllOf(HasSubstr(absl::StrCat("rank ", rank, " of 3: averaging gradients")),
                               HasSubstr("no word from rank 1 within"))));
    EXPECT_LT(absl::Now() - start, kTimeout / 2);
  });
}

TEST(ProcessGroupSyncTest, ARankThatIsLateIsADeadlineExceeded) {
  RendezvousTable table;
  table.Begin(kPrefix);
  RunThreads(2, [&](uint32_t rank) {
    ProcessGroupOptions options = Options(rank, 2);
    options.timeout = absl::Seconds(1);
    auto sync = ProcessGroupSync::Create(options, table);
    ASSERT_THAT(sync, IsOk());
    if (rank == 0) {
      const torch::Tensor weight = torch::ones({4}).requires_grad_();
      EXPECT_THAT((*sync)->Attach({weight}), IsOk());
      EXPECT_THAT((*sync)->Backward(weight.sum()),
                  StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("no word from rank 1")));
    }
    EXPECT_THAT(table.Set(absl::StrCat(kPrefix, "over/", rank), ""), IsOk());
    EXPECT_THAT(table.Get({"half-1/1/over/0", "half-1/1/over/1"}, absl::Now() + kTimeout), IsOk());
  });
}

TEST(ProcessGroupSyncTest, AFailureOfAnEndedGenerationIsAborted) {
  RendezvousTable table;
  table.Begin(kPrefix);
  RunThreads(2, [&](uint32_t rank) {
    auto sync = ProcessGroupSync::Create(Options(rank, 2), table);
    ASSERT_THAT(sync, IsOk());
    // The generation must not end before rank 1 has connected.
    const absl::Status met = (*sync)->Finish();
    if (rank == 1) return;
    ASSERT_THAT(met, IsOk());
    const torch::Tensor weight = torch::ones({4}).requires_grad_();
    table.End(kPrefix);
    EXPECT_THAT((*sync)->Attach({weight}), IsOk());
    EXPECT_THAT((*sync)->Backward(weight.sum()), StatusIs(absl::StatusCode::kAborted));
  });
}

}  // namespace
}  // namespace kd
