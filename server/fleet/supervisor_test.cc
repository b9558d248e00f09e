#include "server/fleet/supervisor.h"

#include <signal.h>

#include "base/status_matchers.h"
#include "gtest/gtest.h"
#include "server/coordinator/fake_launcher.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

class SupervisorTest : public ::testing::Test {
 protected:
  absl::Status Start(const std::string& name) {
    return supervisor_.Start(name, {.arguments = {"/bin/" + name}, .log_path = "/log"});
  }

  FakeLauncher launcher_;
  FakeClock clock_;
  Supervisor supervisor_{launcher_, clock_};
};

TEST_F(SupervisorTest, StartsAgainWhatHasEnded) {
  ASSERT_THAT(Start("registry"), IsOk());
  ASSERT_THAT(Start("coordinator"), IsOk());
  supervisor_.Tick();
  EXPECT_THAT(launcher_.started, SizeIs(2));

  launcher_.running.erase(1000);
  supervisor_.Tick();
  EXPECT_EQ(supervisor_.Ended("registry"), "was killed by signal 9");
  EXPECT_THAT(supervisor_.Ended("coordinator"), IsEmpty());
  EXPECT_THAT(launcher_.started, SizeIs(2));

  clock_.Advance(absl::Seconds(1));
  supervisor_.Tick();
  ASSERT_THAT(launcher_.started, SizeIs(3));
  EXPECT_THAT(launcher_.started[2].arguments, ElementsAre("/bin/registry"));
  EXPECT_THAT(supervisor_.Ended("registry"), IsEmpty());
}

TEST_F(SupervisorTest, WaitsLongerEachTimeAProgramEndsAtOnce) {
  ASSERT_THAT(Start("registry"), IsOk());
  const auto time_to_restart = [&] {
    launcher_.running.clear();
    supervisor_.Tick();
    const size_t before = launcher_.started.size();
    absl::Duration waited;
    while (launcher_.started.size() == before) {
      clock_.Advance(absl::Milliseconds(100));
      waited += absl::Milliseconds(100);
      supervisor_.Tick();
    }
    return waited;
  };
  const absl::Duration first = time_to_restart(), second = time_to_restart();
  EXPECT_GT(second, first);

  clock_.Advance(absl::Hours(1));
  supervisor_.Tick();
  EXPECT_EQ(time_to_restart(), first);
}

TEST_F(SupervisorTest, RestartsByTheChangedSpec) {
  ASSERT_THAT(Start("registry"), IsOk());
  supervisor_.ChangeSpec("registry", {.arguments = {"/bin/registry", "--listen", "127.0.0.1:7071"}, .log_path = "/log"});
  launcher_.running.clear();
  supervisor_.Tick();
  clock_.Advance(absl::Minutes(1));
  supervisor_.Tick();
  EXPECT_THAT(launcher_.started.back().arguments, ElementsAre("/bin/registry", "--listen", "127.0.0.1:7071"));
}

TEST_F(SupervisorTest, DoesNotKeepWhatCannotBeStarted) {
  launcher_.refusal = "no such file";
  EXPECT_THAT(Start("registry"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no such file")));
  launcher_.refusal.clear();
  clock_.Advance(absl::Hours(1));
  supervisor_.Tick();
  EXPECT_THAT(launcher_.started, IsEmpty());
}

TEST_F(SupervisorTest, StopsTheLastOneFirst) {
  ASSERT_THAT(Start("registry"), IsOk());
  ASSERT_THAT(Start("coordinator"), IsOk());
  supervisor_.StopAll(absl::Minutes(1));
  EXPECT_THAT(launcher_.signals, ElementsAre(Pair(1001, SIGTERM), Pair(1000, SIGTERM)));
  EXPECT_THAT(launcher_.running, IsEmpty());
}

TEST_F(SupervisorTest, KillsWhatDoesNotLeave) {
  ASSERT_THAT(Start("registry"), IsOk());
  launcher_.ignored = {SIGTERM};
  supervisor_.StopAll(absl::ZeroDuration());
  EXPECT_THAT(launcher_.signals, ElementsAre(Pair(1000, SIGTERM), Pair(1000, SIGKILL)));
}

}  // namespace
}  // namespace kd
