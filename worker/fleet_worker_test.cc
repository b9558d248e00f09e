// kd-worker as a process, and a coordinator that says what the test wants.
#include "worker/fleet_worker.h"

#include <signal.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/grpc_server.h"
#include "base/grpc_status.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "kd/v1/coordinator.grpc.pb.h"
#include "server/coordinator/process.h"
#include "server/coordinator/rendezvous_service.h"
#include "server/coordinator/rendezvous_table.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Minutes(1);

// Assigns two ranks and may end their generation.
class FakeCoordinator : public v1::WorkerService::Service {
 public:
  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest* request, v1::Assignment* assignment) override {
    assignment->set_rank(request->rank());
    assignment->set_world_size(2);
    assignment->set_lease_ms(500);
    return grpc::Status::OK;
  }
  grpc::Status Heartbeat(grpc::ServerContext*, const v1::HeartbeatRequest*, v1::HeartbeatResponse*) override {
    return ToGrpcStatus(ended ? absl::AbortedError("generation 1 has ended") : absl::OkStatus());
  }

  std::atomic<bool> ended = false;
};

TEST(FleetWorkerTest, ARankThatHangsInACollectiveLeavesWhenItsGenerationHasEnded) {
  FakeCoordinator coordinator;
  RendezvousTable table;
  table.Begin("half-1/1/");
  const std::unique_ptr<grpc::Service> rendezvous = NewRendezvousService(table);
  const auto server = StartGrpcServer("127.0.0.1:0", {&coordinator, rendezvous.get()});
  ASSERT_THAT(server, IsOk());

  TemporaryFolder folder;
  LocalLauncher launcher;
  const auto worker = launcher.Start({.arguments = {BinDir() + "/kd-worker", "train", "--coordinator", server->address,
                                                    "--job", "half-1", "--generation", "1", "--rank", "0"},
                                      .log_path = folder / "log"});
  ASSERT_THAT(worker, IsOk());
  // The other rank comes, but never connects.
  ASSERT_THAT(table.Set("half-1/1/rank/1", "elsewhere"), IsOk());
  ASSERT_THAT(table.Get({"half-1/1/rank/0"}, absl::Now() + kPatience), IsOk());
  coordinator.ended = true;

  const absl::Time deadline = absl::Now() + kPatience;
  std::optional<std::string> exit;
  while (!(exit = launcher.Poll(*worker)).has_value() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(20));
  if (!exit.has_value()) launcher.Signal(*worker, SIGKILL);
  const std::string log = ReadFile(folder / "log").value_or("");
  ASSERT_TRUE(exit.has_value()) << log;
  EXPECT_THAT(log, HasSubstr("leaving without it"));
}

}  // namespace
}  // namespace kd
