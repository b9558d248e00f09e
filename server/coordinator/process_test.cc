#include "server/coordinator/process.h"

#include <signal.h>
#include <unistd.h>

#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

class ProcessTest : public ::testing::Test {
 protected:
  ProcessId Start(const std::string& script, std::map<std::string, std::string> environment = {}) {
    const auto process = launcher_.Start({{"/bin/sh", "-c", script}, std::move(environment), log_});
    EXPECT_THAT(process, IsOk());
    return process.value_or(ProcessId{});
  }
  // How it ended; "still runs" after ten seconds.
  std::string AwaitEnd(const ProcessId& process) {
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    while (absl::Now() < deadline) {
      if (const auto end = launcher_.Poll(process)) return *end;
      absl::SleepFor(absl::Milliseconds(5));
    }
    return "still runs";
  }

  TemporaryFolder folder_;
  const std::string log_ = folder_.path() + "/log";
  LocalLauncher launcher_;
};

TEST_F(ProcessTest, TellsTheExitCodeAndKeepsWhatWasSaid) {
  const ProcessId process = Start("echo $GREETING; echo trouble >&2; exit 7", {{"GREETING", "hello"}});
  EXPECT_EQ(AwaitEnd(process), "exited with code 7");
  EXPECT_THAT(ReadFile(log_), IsOkAndHolds("hello\ntrouble\n"));
}

TEST_F(ProcessTest, ASignalEndsARunningProcess) {
  const ProcessId process = Start("while :; do sleep 1; done");
  EXPECT_EQ(launcher_.Poll(process), std::nullopt);
  launcher_.Signal(process, SIGKILL);
  EXPECT_THAT(AwaitEnd(process), HasSubstr("killed by signal 9"));
  EXPECT_EQ(launcher_.Poll(process), "ended");
}

TEST_F(ProcessTest, AnotherProcessWithTheSameNumberIsNotTouched) {
  ProcessId process = Start("while :; do sleep 1; done");
  ProcessId earlier = process;
  --earlier.start_ticks;
  launcher_.Signal(earlier, SIGKILL);
  EXPECT_EQ(launcher_.Poll(process), std::nullopt);
  launcher_.Signal(process, SIGKILL);
  EXPECT_THAT(AwaitEnd(process), HasSubstr("signal 9"));
}

TEST_F(ProcessTest, AProcessOfSomebodyElseIsKnownByItsStartTime) {
  const auto parent = IdentifyProcess(::getppid());
  ASSERT_THAT(parent, IsOk());
  EXPECT_EQ(launcher_.Poll(*parent), std::nullopt);
  ProcessId earlier = *parent;
  --earlier.start_ticks;
  EXPECT_EQ(launcher_.Poll(earlier), "ended");
}

TEST_F(ProcessTest, AProcessIsFoundByItsNumberAndItsCommandLine) {
  const ProcessId process = Start("while :; do sleep 1; done");
  // The kernel shows a command line a moment after the start.
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  absl::StatusOr<ProcessId> found = absl::NotFoundError("not looked for");
  while (!found.ok() && absl::Now() < deadline) found = launcher_.Find(process.pid, {"/bin/sh", "-c"});
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(*found, process);
  EXPECT_THAT(launcher_.Find(process.pid, {"/bin/sh", "-"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("is not \"/bin/sh -\"")));
  EXPECT_THAT(launcher_.Find(process.pid, {"/bin/sh", "-c", "another"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("another")));
  launcher_.Signal(process, SIGKILL);
  AwaitEnd(process);
  EXPECT_THAT(launcher_.Find(process.pid, {"/bin/sh"}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("has ended")));
}

TEST_F(ProcessTest, AMissingProgramIsNamed) {
  EXPECT_THAT(launcher_.Start({{"/does/not/exist"}, {}, log_}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("/does/not/exist")));
}

}  // namespace
}  // namespace kd
