#include "base/visit_in_parallel.h"

#include <atomic>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/barrier.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(VisitInParallelTest, EveryStepIsTakenOnceByAThreadOfThose) {
  for (const size_t threads : {1u, 3u, 16u}) {
    std::vector<std::atomic<int>> taken(100);
    std::atomic<size_t> greatest = 0;
    EXPECT_THAT(VisitInParallel(7, taken.size(), threads,
                                [&](size_t thread, size_t i) {
                                  ++taken[i];
                                  if (thread > greatest) greatest = thread;
                                  return absl::OkStatus();
                                }),
                IsOk());
    for (size_t i = 0; i < taken.size(); ++i) EXPECT_EQ(taken[i], i < 7 ? 0 : 1) << i;
    EXPECT_LT(greatest, threads);
  }
}

TEST(VisitInParallelTest, NothingToDoIsNoError) {
  const auto never = [](size_t, size_t) { return absl::InternalError("called"); };
  EXPECT_THAT(VisitInParallel(0, 0, 4, never), IsOk());
  EXPECT_THAT(VisitInParallel(9, 5, 4, never), IsOk());
}

TEST(VisitInParallelTest, StepsRunAtTheSameTime) {
  auto* const barrier = new absl::Barrier(3);
  EXPECT_THAT(VisitInParallel(0, 3, 3,
                              [&](size_t, size_t) {
                                // Would wait for ever.
                                if (barrier->Block()) delete barrier;
                                return absl::OkStatus();
                              }),
              IsOk());
}

TEST(VisitInParallelTest, TheFailureOfTheSmallestStepIsTheResultAndNoMoreBegin) {
  for (int round = 0; round < 50; ++round) {
    std::atomic<size_t> begun = 0;
    const absl::Status status = VisitInParallel(0, 100000, 4, [&](size_t, size_t i) {
      ++begun;
      return i >= 5 ? absl::DataLossError(absl::StrCat("step ", i)) : absl::OkStatus();
    });
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "step 5"));
    EXPECT_LT(begun, 20u);
  }
}

}  // namespace
}  // namespace kd
