#include "server/fleet/supervisor.h"

#include <signal.h>

#include "gmock/gmock.h"
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
  void Start(const std::string& name) {
    const ProcessSpec spec{.arguments = {"/bin/" + name}, .log_path = "/log"};
    supervisor_.Keep(name, *launcher_.Start(spec), spec);
  }

  FakeLauncher launcher_;
  FakeClock clock_;
  Supervisor supervisor_{launcher_, clock_};
};

TEST_F(SupervisorTest, StartsAgainWhatHasEnded) {
  Start("registry");
  Start("coordinator");
  supervisor_.Tick();
  EXPECT_THAT(launcher_.started, SizeIs(2));

  launcher_.running.erase(1000);
  supervisor_.Tick();
  EXPECT_THAT(launcher_.started, SizeIs(2));

  clock_.Advance(absl::Seconds(1));
  supervisor_.Tick();
  ASSERT_THAT(launcher_.started, SizeIs(3));
  EXPECT_THAT(launcher_.started[2].arguments, ElementsAre("/bin/registry"));
}

TEST_F(SupervisorTest, WaitsLongerEachTimeAProgramEndsAtOnce) {
  Start("registry");
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

TEST_F(SupervisorTest, StopsTheLastOneFirst) {
  Start("registry");
  Start("coordinator");
  supervisor_.StopAll(absl::Minutes(1));
  EXPECT_THAT(launcher_.signals, ElementsAre(Pair(1001, SIGTERM), Pair(1000, SIGTERM)));
  EXPECT_THAT(launcher_.running, IsEmpty());
}

TEST_F(SupervisorTest, KillsWhatDoesNotLeave) {
  Start("registry");
  launcher_.ignored = {SIGTERM};
  supervisor_.StopAll(absl::ZeroDuration());
  EXPECT_THAT(launcher_.signals, ElementsAre(Pair(1000, SIGTERM), Pair(1000, SIGKILL)));
}

}  // namespace
}  // namespace kd
