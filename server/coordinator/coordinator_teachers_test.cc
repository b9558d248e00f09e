// Teachers: started once, started again, stopped, refused.
#include <signal.h>

#include "data/fake_dataset.h"
#include "server/coordinator/coordinator_testing.h"
#include "server/coordinator/fleet_names.h"

namespace kd {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(CoordinatorTest, StartsATeacherOnceAndTellsItsAddress) {
  const std::string a = Submit(Pair(true)), b = Submit(Pair(true));
  Tick(2);
  const std::string digest = Job(a).teacher_digest();
  EXPECT_THAT(digest, HasSubstr("sha256:"));
  std::vector<std::string> programs;
  for (const ProcessSpec& spec : launcher_.started) programs.push_back(spec.arguments[0]);
  EXPECT_THAT(programs, ::testing::UnorderedElementsAre("/bin/kd-worker", "/bin/kd-worker", "/bin/kd-teacher"));
  EXPECT_EQ(Join(a, 1)->teacher_address(), "");
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(digest, pid, false), IsOk());
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "starting");
  EXPECT_THAT(Register(digest, pid + 77, true), StatusIs(absl::StatusCode::kAborted, HasSubstr("no longer")));
  EXPECT_THAT(Register(digest, pid, true), IsOk());
  EXPECT_EQ(Join(b, 1)->teacher_address(), "127.0.0.1:9000");
  EXPECT_EQ(Join(b, 1)->teacher_weights_path(), TeacherWeightsPath(folder_.path(), digest));
  EXPECT_EQ(coordinator_->Count().ready_teachers, 1);
}

TEST_F(CoordinatorTest, StartsALostTeacherAgain) {
  const std::string id = Submit(Pair(true));
  Tick(2);
  const std::string digest = Job(id).teacher_digest();
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(digest, pid, true), IsOk());
  EXPECT_THAT(Join(id, 1), IsOk());
  launcher_.running.erase(pid);
  Tick();
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "lost");
  EXPECT_EQ(Join(id, 1)->teacher_address(), "") << "nobody is there";
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Heartbeat(id, 1), IsOk());
  Tick();
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "starting");
  EXPECT_EQ(Job(id).generation(), 1u) << "the worker waits";
}

TEST_F(CoordinatorTest, ARefusedTeacherEndsItsJobsOnly) {
  const std::string id = Submit(Pair(true)), other = Submit(Pair(false));
  Tick(2);
  EXPECT_THAT(Register(Job(id).teacher_digest(), coordinator_->Teachers()[0].pid(), false, "12 tensors do not fit"),
              IsOk());
  Tick();
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job(id).reason(), HasSubstr("12 tensors"));
  EXPECT_EQ(Job(other).state(), v1::JOB_STATE_STARTING);
  EXPECT_THAT(coordinator_->Teachers(), IsEmpty());
}

TEST_F(CoordinatorTest, WritesADamagedCopyOfATeacherAnew) {
  const std::string path = TeacherWeightsPath(folder_.path(), Job(Submit(Pair(true))).teacher_digest());
  const auto whole = ReadFile(path);
  ASSERT_THAT(whole, IsOk());
  std::string damaged = *whole;
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_THAT(WriteFileAtomically(path, damaged), IsOk());
  Submit(Pair(true));
  EXPECT_EQ(ReadFile(path).value_or(""), *whole);
}

TEST_F(CoordinatorTest, ForgetsATeacherThatWasLostWhileNobodyUsedIt) {
  const std::string id = Submit(Pair(true));
  Tick(2);
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(Job(id).teacher_digest(), pid, true), IsOk());
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  launcher_.running.erase(pid);
  Tick(2);
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "lost");
  clock_.Advance(absl::Minutes(6));
  Tick();
  EXPECT_THAT(coordinator_->Teachers(), IsEmpty());
}

TEST_F(CoordinatorTest, StopsATeacherThatNobodyUses) {
  const std::string id = Submit(Pair(true));
  Tick(2);
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(Job(id).teacher_digest(), pid, true), IsOk());
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  Tick();
  EXPECT_THAT(Register("sha256:" + std::string(64, '0'), 1, true),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("no longer")));
  const auto live_for = [&](absl::Duration time) {
    for (; time > absl::ZeroDuration(); time -= absl::Seconds(5)) {
      clock_.Advance(absl::Seconds(5));
      Tick();
      for (const v1::TeacherReplica& teacher : coordinator_->Teachers())
        EXPECT_THAT(Register(teacher.digest(), pid, true), IsOk());
    }
  };
  live_for(absl::Minutes(4));
  EXPECT_THAT(coordinator_->Teachers(), SizeIs(1));
  live_for(absl::Minutes(2));
  EXPECT_THAT(coordinator_->Teachers(), IsEmpty());
  EXPECT_THAT(launcher_.signals, Contains(std::pair<int64_t, int>(pid, SIGTERM)));
}

TEST_F(CoordinatorTest, RefusesATeacherWithoutADigest) {
  EXPECT_THAT(Register("", 1, true), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no digest")));
}

}  // namespace
}  // namespace kd
