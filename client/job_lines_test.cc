#include "client/job_lines.h"

#include <string>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr absl::Time kStart = absl::UnixEpoch();

v1::Job Running(uint64_t step) {
  v1::Job job;
  job.set_id("sim-1");
  job.set_state(v1::JOB_STATE_RUNNING);
  job.set_generation(1);
  job.mutable_pair()->mutable_train()->set_batch_size(4);
  v1::Progress& progress = *job.mutable_progress();
  progress.set_step(step);
  progress.set_total_steps(100);
  progress.set_epoch(2);
  progress.set_phase("training");
  (*progress.mutable_losses())["loc"] = 0.5;
  (*progress.mutable_losses())["hm"] = 1.25;
  progress.set_samples_per_second(8);
  progress.set_data_wait_share(0.02);
  progress.set_cache_hits(97);
  progress.set_responses(100);
  return job;
}

TEST(EtaTest, RestsOnTheStepsThatWereSeen) {
  EtaEstimator eta;
  eta.Observe(Running(10), kStart);
  eta.Observe(Running(20), kStart + absl::Seconds(30));
  const auto estimate = eta.Estimate(Running(20));
  ASSERT_TRUE(estimate.has_value());
  EXPECT_EQ(estimate->left, absl::Seconds(240));
  EXPECT_EQ(estimate->basis, "from 10 steps");
}

TEST(EtaTest, UsesTheReportedRateUntilEnoughStepsWereSeen) {
  EtaEstimator eta;
  eta.Observe(Running(10), kStart);
  const auto estimate = eta.Estimate(Running(10));
  ASSERT_TRUE(estimate.has_value());
  // 90 steps of 4 frames at 8 frames a second.
  EXPECT_EQ(estimate->left, absl::Seconds(45));
  EXPECT_EQ(estimate->basis, "at 8 frames/s");
}

TEST(EtaTest, TheTimeBeforeTheFirstStepIsNoStepsTime) {
  EtaEstimator eta;
  eta.Observe(Running(0), kStart);
  eta.Observe(Running(10), kStart + absl::Seconds(600));
  eta.Observe(Running(20), kStart + absl::Seconds(630));
  EXPECT_EQ(eta.Estimate(Running(20))->left, absl::Seconds(240));
}

TEST(EtaTest, StepsThatGoBackBeginANewMeasurement) {
  EtaEstimator eta;
  eta.Observe(Running(10), kStart);
  eta.Observe(Running(50), kStart + absl::Seconds(1));
  eta.Observe(Running(20), kStart + absl::Seconds(100));
  EXPECT_EQ(eta.Estimate(Running(20))->basis, "at 8 frames/s");
  eta.Observe(Running(30), kStart + absl::Seconds(110));
  EXPECT_EQ(eta.Estimate(Running(30))->left, absl::Seconds(70));
}

TEST(EtaTest, AnotherGenerationBeginsANewMeasurement) {
  EtaEstimator eta;
  eta.Observe(Running(10), kStart);
  v1::Job next = Running(50);
  next.set_generation(2);
  eta.Observe(next, kStart + absl::Seconds(1));
  EXPECT_EQ(eta.Estimate(next)->basis, "at 8 frames/s");
}

TEST(EtaTest, ThereIsNoneForAJobThatDoesNotTrain) {
  v1::Job queued = Running(10);
  queued.set_state(v1::JOB_STATE_QUEUED);
  EXPECT_FALSE(EtaEstimator().Estimate(queued).has_value());
  EXPECT_FALSE(EtaEstimator().Estimate(Running(100)).has_value());
  v1::Job silent = Running(10);
  silent.mutable_progress()->set_samples_per_second(0);
  EXPECT_FALSE(EtaEstimator().Estimate(silent).has_value());
}

TEST(JobLineTest, TellsProgressAndWhatLimitsIt) {
  EXPECT_EQ(
      JobLine(Running(40), EtaEstimator::Eta{absl::Seconds(185), "from 30 steps"}),
      "RUNNING  step 40/100  epoch 2  ETA 3 min 05 s (from 30 steps)  loss hm 1.25 loc 0.5  8 frames/s  data-wait 2 %  "
      "cache hits 97 %");
}

TEST(JobLineTest, TellsTheReasonOfAJobThatDoesNotRun) {
  v1::Job job;
  job.set_state(v1::JOB_STATE_QUEUED);
  job.set_reason("waits for 2 jobs\nahead");
  EXPECT_EQ(JobLine(job, std::nullopt), "QUEUED  waits for 2 jobs ahead");
}

TEST(JobLineTest, NamesAPhaseOtherThanTraining) {
  v1::Job job = Running(100);
  job.mutable_progress()->set_phase("evaluating");
  EXPECT_THAT(JobLine(job, std::nullopt), HasSubstr("RUNNING  evaluating  step 100/100"));
}

TEST(JobBlockTest, FitsTheTerminal) {
  const std::string block = JobBlock(Running(50), std::nullopt, 40);
  const std::vector<std::string> lines = absl::StrSplit(block, '\n');
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "sim-1  RUNNING  [############...........");
  EXPECT_LE(lines[1].size(), 40u);
}

TEST(JobBlockTest, ShowsTheBar) {
  EXPECT_EQ(ProgressBar(0, 10, 4), "[....]");
  EXPECT_EQ(ProgressBar(5, 10, 4), "[##..]");
  EXPECT_EQ(ProgressBar(11, 10, 4), "[####]");
  EXPECT_EQ(ProgressBar(0, 0, 4), "[....]");
  EXPECT_THAT(JobBlock(Running(50), std::nullopt, 120), HasSubstr("[############............]  step 50/100"));
}

TEST(HasMovedTest, StateReasonAndStepCountRatesDoNot) {
  v1::Job after = Running(40);
  after.mutable_progress()->set_samples_per_second(9);
  EXPECT_FALSE(HasMoved(Running(40), after));
  EXPECT_TRUE(HasMoved(Running(40), Running(41)));
  after.set_reason("lost rank 1");
  EXPECT_TRUE(HasMoved(Running(40), after));
}

TEST(ShortTest, DurationsBytesAndNumbers) {
  EXPECT_EQ(ShortDuration(absl::Seconds(12)), "12 s");
  EXPECT_EQ(ShortDuration(absl::Seconds(185)), "3 min 05 s");
  EXPECT_EQ(ShortDuration(absl::Hours(6) + absl::Minutes(20)), "6 h 20 min");
  EXPECT_EQ(ShortDuration(absl::Hours(50)), "2 d 02 h");
  EXPECT_EQ(ShortDuration(-absl::Seconds(5)), "0 s");
  EXPECT_EQ(ShortBytes(999), "999 B");
  EXPECT_EQ(ShortBytes(1600), "1.6 kB");
  EXPECT_EQ(ShortBytes(999'600'000), "1.0 GB");
  EXPECT_EQ(ShortBytes(14'200'000'000), "14 GB");
  EXPECT_EQ(Grouped(7), "7");
  EXPECT_EQ(Grouped(123), "123");
  EXPECT_EQ(Grouped(12345678), "12 345 678");
}

}  // namespace
}  // namespace kd
