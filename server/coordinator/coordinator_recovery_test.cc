// What becomes of jobs when workers, checkpoints or the coordinator fail.
#include <signal.h>
#include <unistd.h>

#include "data/fake_dataset.h"
#include "server/coordinator/coordinator_testing.h"
#include "server/coordinator/fleet_names.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kDigest = "sha256:" + std::string(64, 'a');

TEST_F(CoordinatorTest, AKilledWorkerGoesOnFromTheLastCheckpoint) {
  const std::string id = StartJob(Pair(false));
  EXPECT_THAT(Commit(id, 1, 100), IsOk());
  launcher_.running.erase(1000);
  Tick();
  EXPECT_EQ(Job(id).generation(), 2u);
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_STARTING);
  EXPECT_THAT(Job(id).reason(), HasSubstr("signal 9"));
  Tick();
  EXPECT_THAT(launcher_.started, SizeIs(1)) << "the restart waits a little";
  clock_.Advance(absl::Seconds(1));
  Tick();
  ASSERT_THAT(launcher_.started, SizeIs(2));
  EXPECT_THAT(Join(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 1")));
  EXPECT_EQ(Join(id, 2)->checkpoint_path(), CheckpointPath(id, 100));
  EXPECT_THAT(Commit(id, 1, 150), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 1")));
  EXPECT_THAT(Finish(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 1")));
  EXPECT_THAT(ended_, ElementsAre("half-1/1/"));
}

TEST_F(CoordinatorTest, TakesOnlyFilesOfTheJobForCheckpoints) {
  const std::string id = StartJob(Pair(false));
  v1::CommitCheckpointRequest request;
  request.set_job_id(id);
  request.set_generation(1);
  request.set_digest(kDigest);
  for (const std::string& path :
       {std::string("/etc/passwd"), CheckpointPath("other-2", 1), CheckpointPath(id, 1) + "/../../x",
        folder_ / "jobs/" + id + "/checkpoints/..", std::string("")}) {
    request.set_path(path);
    EXPECT_THAT(coordinator_->CommitCheckpoint(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("folder of checkpoints")))
        << path;
  }
  request.set_path(CheckpointPath(id, 5));
  request.set_step(5);
  EXPECT_THAT(coordinator_->CommitCheckpoint(request), IsOk());
  for (const std::string& digest : {std::string(), std::string("md5:1"), kDigest + "\x1b[31m"}) {
    request.set_digest(digest);
    EXPECT_THAT(coordinator_->CommitCheckpoint(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no digest")));
  }
  EXPECT_THAT(Commit(id, 1, 4), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step 4 comes before step 5")));
  EXPECT_EQ(Job(id).checkpoint_step(), 5u);
}

TEST_F(CoordinatorTest, KeepsTwoCheckpoints) {
  const std::string id = StartJob(Pair(false));
  EXPECT_THAT(Commit(id, 1, 1)->obsolete_paths(), IsEmpty());
  EXPECT_THAT(Commit(id, 1, 2)->obsolete_paths(), IsEmpty());
  EXPECT_THAT(Commit(id, 1, 3)->obsolete_paths(), ElementsAre(CheckpointPath(id, 1)));
  EXPECT_THAT(Commit(id, 1, 3)->obsolete_paths(), IsEmpty()) << "a repeated call";
  EXPECT_EQ(Job(id).checkpoint_step(), 3u);
}

TEST_F(CoordinatorTest, ADamagedCheckpointFallsBackOnTheOneBefore) {
  const std::string id = StartJob(Pair(false));
  EXPECT_THAT(Commit(id, 1, 1), IsOk());
  EXPECT_THAT(Commit(id, 1, 2), IsOk());
  v1::FailRequest failure = Failure(id, 1, "step-2: checksum differs");
  failure.set_bad_checkpoint(true);
  EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  Tick();
  clock_.Advance(absl::Seconds(1));
  Tick();
  EXPECT_EQ(Join(id, 2)->checkpoint_path(), CheckpointPath(id, 1));
  EXPECT_EQ(Job(id).checkpoint_step(), 1u);
}

TEST_F(CoordinatorTest, ACheckpointThatTwoRanksFindDamagedIsGivenUpOnce) {
  const std::string id = StartJob(Pair(false, 2));
  EXPECT_THAT(Commit(id, 1, 1), IsOk());
  EXPECT_THAT(Commit(id, 1, 2), IsOk());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    v1::FailRequest failure = Failure(id, 1, "step-2: checksum differs");
    failure.set_rank(rank);
    failure.set_bad_checkpoint(true);
    EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  }
  EXPECT_EQ(Job(id).checkpoint_step(), 1u);
}

TEST_F(CoordinatorTest, ASilentWorkerIsGivenUpAndKilled) {
  const std::string id = StartJob(Pair(false));
  clock_.Advance(absl::Seconds(9));
  Tick();
  EXPECT_THAT(Heartbeat(id, 1), IsOk());
  clock_.Advance(absl::Seconds(9));
  Tick();
  EXPECT_EQ(Job(id).generation(), 1u);
  clock_.Advance(absl::Seconds(2));
  Tick();
  EXPECT_EQ(Job(id).generation(), 2u);
  EXPECT_THAT(launcher_.signals, ElementsAre(std::pair<int64_t, int>(1000, SIGKILL)));
  EXPECT_THAT(Heartbeat(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("has ended")));
}

TEST_F(CoordinatorTest, WaitsForTheOldProcessesBeforeItStartsNewOnes) {
  const std::string id = StartJob(Pair(false, 2));
  launcher_.ignored = {SIGTERM, SIGKILL};
  launcher_.running.erase(1001);
  Tick();
  clock_.Advance(absl::Seconds(5));
  Tick(2);
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "rank 0 of generation 1 still runs";
  launcher_.running.erase(1000);
  Tick();
  EXPECT_THAT(launcher_.started, SizeIs(4));
}

TEST_F(CoordinatorTest, APermanentFailureEndsTheJob) {
  const std::string id = StartJob(Pair(false));
  v1::FailRequest failure = Failure(id, 1, "000012.bin is cut off");
  failure.set_permanent(true);
  EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  Tick();
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job(id).reason(), HasSubstr("000012.bin"));
}

TEST_F(CoordinatorTest, GivesUpAfterRestartsWithoutACheckpoint) {
  const std::string id = Submit(Pair(false));
  launcher_.refusal = "no such program";
  for (int i = 0; i < 50 && Job(id).state() != v1::JOB_STATE_FAILED; ++i) {
    Tick();
    clock_.Advance(absl::Seconds(31));
  }
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Job(id).generation(), 6u);
  EXPECT_THAT(Job(id).reason(), HasSubstr("no such program"));
}

TEST_F(CoordinatorTest, ARestartTakesUpWhatRuns) {
  const std::string id = StartJob(Pair(false)), queued = Submit(Pair(false));
  EXPECT_THAT(Commit(id, 1, 5), IsOk());
  started_.clear();
  StartCoordinator();
  EXPECT_THAT(started_, ElementsAre("half-1/1/")) << "its ranks may still want to meet";
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_RUNNING);
  EXPECT_THAT(Heartbeat(id, 1, 6), IsOk());
  Tick(3);
  EXPECT_EQ(Job(id).generation(), 1u);
  EXPECT_THAT(launcher_.signals, IsEmpty());
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "the queued job's worker was started";
  EXPECT_THAT(Finish(id, 1), IsOk());
  EXPECT_EQ(Job(queued).state(), v1::JOB_STATE_STARTING);
}

TEST_F(CoordinatorTest, AWorkerThatDiedWithTheCoordinatorCostsTheJobNothing) {
  const std::string id = StartJob(Pair(false));
  launcher_.running.clear();
  StartCoordinator();
  Tick(3);
  EXPECT_EQ(Job(id).generation(), 2u);
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "and nobody waits";
  EXPECT_THAT(Job(id).reason(), HasSubstr("waiting for rank 0"));
}

TEST_F(CoordinatorTest, ARestartKillsProcessesOfEndedGenerations) {
  const std::string id = StartJob(Pair(false));
  launcher_.ignored = {SIGTERM, SIGKILL};
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  StartCoordinator();
  EXPECT_THAT(launcher_.signals,
              ElementsAre(std::pair<int64_t, int>(1000, SIGKILL), std::pair<int64_t, int>(1000, SIGKILL)));
  launcher_.running.clear();
  Tick();
  EXPECT_THAT(*database_->Processes(), IsEmpty());
}

TEST_F(CoordinatorTest, SurvivesARestartAtEveryStep) {
  // Whatever the coordinator was about to do when it died, the next one does it, once.
  const std::string id = Submit(Pair(true));
  std::string digest = Job(id).teacher_digest();
  for (int i = 0; i < 12 && Job(id).state() != v1::JOB_STATE_SUCCEEDED; ++i) {
    StartCoordinator();
    Tick();
    for (const v1::TeacherReplica& teacher : coordinator_->Teachers()) {
      EXPECT_THAT(Register(teacher.digest(), teacher.pid(), true), IsOk());
    }
    if (Join(id, 1).ok()) {
      EXPECT_THAT(Heartbeat(id, 1), IsOk());
      if (i > 8) {
        EXPECT_THAT(Finish(id, 1), IsOk());
      }
    }
  }
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Job(id).generation(), 1u);
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "one worker, one teacher";
}

TEST_F(CoordinatorTest, TakesUpOnlyTheProcessThatItStarted) {
  const std::string id = StartJob(Pair(false)), other = StartJob(Pair(false));
  // As if the coordinator had died between the start and the note of it.
  ASSERT_THAT(database_->RemoveProcess(WorkerName(id, 1, 0), 1000), IsOk());
  StartCoordinator();
  EXPECT_THAT(Join(id, 1, 0, ::getpid()), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("process")));
  EXPECT_THAT(Join(id, 1, 0, 1001), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("process")))
      << "the other job's";
  EXPECT_THAT(Join(id, 1, 0, 1000), IsOk());
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  EXPECT_THAT(launcher_.signals, ElementsAre(std::pair<int64_t, int>(1000, SIGKILL)));
  EXPECT_EQ(Job(other).state(), v1::JOB_STATE_RUNNING);
}

}  // namespace
}  // namespace kd
