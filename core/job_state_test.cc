#include "core/job_state.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::VariantWith;

constexpr absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
constexpr char kDigest[] = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

MATCHER_P3(Issues, job, generation, counts, "") {
  const auto* action = std::get_if<IssueGeneration>(&arg);
  return action != nullptr && action->job == job && action->generation == static_cast<uint32_t>(generation) &&
         action->counts == counts;
}
MATCHER_P(Launches, job, "") {
  const auto* action = std::get_if<LaunchWorkers>(&arg);
  return action != nullptr && action->job == job;
}
MATCHER_P2(Fails, job, reason, "") {
  const auto* action = std::get_if<FailJob>(&arg);
  return action != nullptr && action->job == job &&
         ::testing::ExplainMatchResult(reason, action->reason, result_listener);
}
MATCHER_P2(Explains, job, reason, "") {
  const auto* action = std::get_if<ExplainJob>(&arg);
  return action != nullptr && action->job == job &&
         ::testing::ExplainMatchResult(reason, action->reason, result_listener);
}
MATCHER_P(Starts, digest, "") {
  const auto* action = std::get_if<StartTeacher>(&arg);
  return action != nullptr && action->digest == digest;
}
MATCHER_P2(Loses, digest, cause, "") {
  const auto* action = std::get_if<LoseTeacher>(&arg);
  return action != nullptr && action->digest == digest &&
         ::testing::ExplainMatchResult(cause, action->cause, result_listener);
}

JobSnapshot Queued(std::string id) { return JobSnapshot{.id = std::move(id)}; }

JobSnapshot Running(std::string id, size_t ranks = 2) {
  return JobSnapshot{.id = std::move(id),
                     .state = v1::JOB_STATE_RUNNING,
                     .generation = 1,
                     .launched = true,
                     .ranks = std::vector<RankSnapshot>(ranks, RankSnapshot{.joined = true})};
}

JobSnapshot Starting(std::string id, size_t ranks = 2) {
  JobSnapshot job = Running(std::move(id), ranks);
  job.state = v1::JOB_STATE_STARTING;
  for (RankSnapshot& rank : job.ranks) rank.joined = false;
  return job;
}

std::vector<FleetAction> DecideFor(std::vector<JobSnapshot> jobs, std::vector<TeacherSnapshot> teachers = {}) {
  return Decide({.jobs = std::move(jobs), .teachers = std::move(teachers)}, JobPolicy{}, kNow);
}

TEST(JobStateTest, AQueuedJobGetsItsFirstGeneration) {
  EXPECT_THAT(DecideFor({Queued("a-1")}), ElementsAre(Issues("a-1", 1, false)));
}

TEST(JobStateTest, JobsAboveTheLimitWaitInOrderAndSayForWhat) {
  EXPECT_THAT(
      DecideFor({Running("a-1"), Queued("b-1"), Queued("c-1")}),
      ElementsAre(Issues("b-1", 1, false), Explains("c-1", HasSubstr("2 of at most 2 jobs are running (a-1, b-1)"))));
}

TEST(JobStateTest, AReasonThatIsAlreadyShownIsNotWrittenAgain) {
  JobSnapshot waiting = Queued("c-1");
  waiting.reason = "2 of at most 2 jobs are running (a-1, b-1); starts when one ends";
  EXPECT_THAT(DecideFor({Running("a-1"), Running("b-1"), waiting}), IsEmpty());
}

TEST(JobStateTest, WorkersAreLaunchedOnceTheOldOnesAreGoneAndTheDelayIsOver) {
  JobSnapshot job = Starting("a-1");
  job.launched = false;
  job.ranks.clear();
  EXPECT_THAT(DecideFor({job}), ElementsAre(Launches("a-1")));
  job.leftovers = 1;
  EXPECT_THAT(DecideFor({job}), IsEmpty());
  job.leftovers = 0;
  job.not_before = kNow + absl::Milliseconds(1);
  EXPECT_THAT(DecideFor({job}), IsEmpty());
}

TEST(JobStateTest, RunsWhenAllRanksHaveJoined) {
  JobSnapshot job = Starting("a-1");
  job.ranks[0].joined = true;
  EXPECT_THAT(DecideFor({job}), ElementsAre(Explains("a-1", "waiting for rank 1 to join")));
  job.ranks[1].joined = true;
  EXPECT_THAT(DecideFor({job}), ElementsAre(VariantWith<MarkRunning>(::testing::_)));
}

TEST(JobStateTest, AStartingJobTellsThatItsTeacherLoads) {
  JobSnapshot job = Starting("a-1", 1);
  job.teacher_digest = kDigest;
  EXPECT_THAT(DecideFor({job}, {{.digest = kDigest, .running = true}}),
              ElementsAre(Explains("a-1", "waiting for rank 0 to join and for teacher 0123456789ab to load")));
}

TEST(JobStateTest, ALostProcessStartsTheNextGeneration) {
  JobSnapshot job = Running("a-1");
  job.ranks[1].exit = "was killed by signal 9";
  const auto actions = DecideFor({job});
  ASSERT_THAT(actions, ElementsAre(Issues("a-1", 2, true)));
  EXPECT_EQ(std::get<IssueGeneration>(actions[0]).reason,
            "rank 1 of generation 1 was killed by signal 9; restart 1 of at most 5 without a new checkpoint");
}

TEST(JobStateTest, TheRankThatDiedSilentlyIsTheCauseAndNotTheOneThatNoticed) {
  JobSnapshot job = Running("a-1");
  job.ranks[0].failure = "all-reduce: connection closed by peer";
  job.ranks[1].exit = "was killed by signal 9";
  const auto actions = DecideFor({job});
  ASSERT_THAT(actions, SizeIs(1));
  EXPECT_THAT(std::get<IssueGeneration>(actions[0]).reason, HasSubstr("rank 1 of generation 1 was killed by signal 9"));
}

TEST(JobStateTest, ASilentRankStartsTheNextGeneration) {
  JobSnapshot job = Running("a-1");
  job.ranks[0].silence = absl::Seconds(10);
  const auto actions = DecideFor({job});
  ASSERT_THAT(actions, ElementsAre(Issues("a-1", 2, true)));
  EXPECT_THAT(std::get<IssueGeneration>(actions[0]).reason, HasSubstr("rank 0 of generation 1 was silent for 10 s"));
}

TEST(JobStateTest, ARankThatNeverJoinsStartsTheNextGeneration) {
  JobSnapshot job = Starting("a-1");
  job.ranks[1].silence = absl::Minutes(2);
  const auto actions = DecideFor({job});
  ASSERT_THAT(actions, ElementsAre(Issues("a-1", 2, true)));
  EXPECT_THAT(std::get<IssueGeneration>(actions[0]).reason,
              HasSubstr("rank 1 of generation 1 did not join within 120 s"));
}

TEST(JobStateTest, AFinishedRankMayExit) {
  JobSnapshot job = Running("a-1");
  job.ranks[1].finished = true;
  job.ranks[1].exit = "exited with code 0";
  job.ranks[1].silence = absl::Seconds(20);
  EXPECT_THAT(DecideFor({job}), IsEmpty());
}

TEST(JobStateTest, APermanentFailureEndsTheJobWithTheWorkersWords) {
  JobSnapshot job = Running("a-1");
  job.ranks[0].exit = "exited with code 1";
  job.ranks[1].failure = "velodyne/000003.bin has 17 bytes; restore the file";
  job.ranks[1].permanent = true;
  EXPECT_THAT(DecideFor({job}), ElementsAre(Fails("a-1", "velodyne/000003.bin has 17 bytes; restore the file")));
}

TEST(JobStateTest, RestartsEnd) {
  JobSnapshot job = Running("a-1");
  job.generation = 6;
  job.restarts = 5;
  job.ranks[0].failure = "out of memory";
  EXPECT_THAT(DecideFor({job}),
              ElementsAre(Fails("a-1", ::testing::AllOf(HasSubstr("rank 0 of generation 6: out of memory"),
                                                        HasSubstr("restarted 5 times"), HasSubstr("kdctl logs a-1")))));
}

TEST(JobStateTest, ProcessesThatDiedWithTheCoordinatorUseUpNoRestart) {
  JobSnapshot job = Running("a-1");
  job.restarts = 5;
  job.inherited = true;
  job.ranks[0].exit = "is gone";
  EXPECT_THAT(DecideFor({job}), ElementsAre(Issues("a-1", 2, false)));
}

TEST(JobStateTest, AFailedJobMakesRoomForTheNext) {
  JobSnapshot bad = Running("a-1");
  bad.ranks[0].failure = "no such folder";
  bad.ranks[0].permanent = true;
  EXPECT_THAT(DecideFor({bad, Running("b-1"), Queued("c-1")}),
              ElementsAre(Fails("a-1", "no such folder"), Issues("c-1", 1, false)));
}

TEST(TeacherStateTest, StartsWithItsFirstJobAndOnlyOnce) {
  JobSnapshot first = Queued("a-1"), second = Queued("b-1");
  first.teacher_digest = second.teacher_digest = kDigest;
  EXPECT_THAT(DecideFor({first, second}),
              ElementsAre(Issues("a-1", 1, false), Issues("b-1", 1, false), Starts(kDigest)));
  EXPECT_THAT(DecideFor({first}, {{.digest = kDigest, .running = true}}), ElementsAre(Issues("a-1", 1, false)));
}

TEST(TeacherStateTest, IsRestartedWhileAJobNeedsIt) {
  JobSnapshot job = Running("a-1");
  job.teacher_digest = kDigest;
  TeacherSnapshot teacher{.digest = kDigest, .running = true, .ready = true, .exit = "was killed by signal 9"};
  EXPECT_THAT(DecideFor({job}, {teacher}), ElementsAre(Loses(kDigest, "was killed by signal 9")));
  teacher.running = false;
  teacher.leftovers = 1;
  EXPECT_THAT(DecideFor({job}, {teacher}), IsEmpty()) << "the old process may still hold the cache folder";
  teacher.leftovers = 0;
  EXPECT_THAT(DecideFor({job}, {teacher}), ElementsAre(Starts(kDigest)));
  teacher.not_before = kNow + absl::Seconds(1);
  EXPECT_THAT(DecideFor({job}, {teacher}), IsEmpty());
}

TEST(TeacherStateTest, ASilentOneIsLost) {
  EXPECT_THAT(DecideFor({}, {{.digest = kDigest, .running = true, .silence = absl::Seconds(10)}}),
              ElementsAre(Loses(kDigest, "was silent for 10 s")));
}

TEST(TeacherStateTest, RestartsInVainFailItsJobs) {
  JobSnapshot job = Running("a-1");
  job.teacher_digest = kDigest;
  EXPECT_THAT(
      DecideFor({job}, {{.digest = kDigest, .running = true, .exit = "exited with code 1", .restarts = 5}}),
      ElementsAre(Fails("a-1", HasSubstr("teacher 0123456789ab exited with code 1 and has been restarted 5 times")),
                  Loses(kDigest, "exited with code 1")));
}

TEST(TeacherStateTest, RefusedWeightsFailItsJobsAndNoOthers) {
  JobSnapshot job = Running("a-1");
  job.teacher_digest = kDigest;
  EXPECT_THAT(DecideFor({job, Running("b-1")}, {{.digest = kDigest, .running = true, .refusal = "no tensor named x"}}),
              ElementsAre(Fails("a-1", "teacher 0123456789ab refused its weights: no tensor named x"),
                          Loses(kDigest, HasSubstr("no tensor named x"))));
}

TEST(TeacherStateTest, StopsWhenNoJobHasUsedItForLong) {
  TeacherSnapshot teacher{.digest = kDigest,
                          .running = true,
                          .ready = true,
                          .unused_since = kNow - absl::Minutes(5) + absl::Milliseconds(1)};
  EXPECT_THAT(DecideFor({}, {teacher}), IsEmpty());
  teacher.unused_since = kNow - absl::Minutes(5);
  EXPECT_THAT(DecideFor({}, {teacher}), ElementsAre(VariantWith<StopTeacher>(::testing::_)));
  JobSnapshot job = Running("a-1");
  job.teacher_digest = kDigest;
  EXPECT_THAT(DecideFor({job}, {teacher}), IsEmpty());
}

TEST(RestartDelayTest, DoublesUpToHalfAMinute) {
  EXPECT_EQ(RestartDelay(0), absl::ZeroDuration());
  EXPECT_EQ(RestartDelay(1), absl::Milliseconds(500));
  EXPECT_EQ(RestartDelay(3), absl::Seconds(2));
  EXPECT_EQ(RestartDelay(7), absl::Seconds(30));
  EXPECT_EQ(RestartDelay(4'000'000'000u), absl::Seconds(30));
}

}  // namespace
}  // namespace kd
