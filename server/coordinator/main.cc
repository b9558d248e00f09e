// kd-coordinator: takes jobs, starts teachers and workers, and sees that every job ends.
#include <unistd.h>

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/cleanup/cleanup.h"
#include "absl/synchronization/notification.h"
#include "base/file.h"
#include "base/grpc_server.h"
#include "base/http/http_address.h"
#include "base/http/ops_endpoints.h"
#include "base/log.h"
#include "base/program.h"
#include "base/status.h"
#include "base/stop_signals.h"
#include "base/version.h"
#include "core/job_state.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/job_service.h"
#include "server/coordinator/rendezvous_service.h"
#include "server/coordinator/rendezvous_table.h"
#include "server/coordinator/worker_service.h"

namespace kd {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr absl::Duration kProcessFarewell = absl::Seconds(10);

struct Flags {
  std::string listen = "127.0.0.1:7070", ops_listen = "127.0.0.1:0", folder, registry = "http://127.0.0.1:7071",
              address_file, ops_address_file;
  uint32_t max_jobs = JobPolicy().max_jobs,
           teacher_idle_s = static_cast<uint32_t>(absl::ToInt64Seconds(JobPolicy().teacher_idle));
  pid_t parent = 0;
};

// The coordinator's numbers as Prometheus sees them; brought up to date after every tick.
class Metrics {
 public:
  explicit Metrics(prometheus::Registry& registry)
      : jobs_(prometheus::BuildGauge()
                  .Name("kd_coordinator_jobs")
                  .Help("Jobs that have not ended, by state")
                  .Register(registry)),
        teachers_(Single(registry, "kd_coordinator_ready_teachers", "Teachers that serve")),
        worker_restarts_(
            Single(registry, "kd_coordinator_worker_restarts", "Generations issued after a loss, since the start")),
        teacher_restarts_(Single(registry, "kd_coordinator_teacher_restarts", "Teachers lost, since the start")) {}

  void Show(const Coordinator::Counters& counters) {
    for (const auto& [state, count] : counters.jobs) jobs_.Add({{"state", JobStateName(state)}}).Set(count);
    teachers_.Set(counters.ready_teachers);
    worker_restarts_.Set(static_cast<double>(counters.worker_restarts));
    teacher_restarts_.Set(static_cast<double>(counters.teacher_restarts));
  }

 private:
  static prometheus::Gauge& Single(prometheus::Registry& registry, const std::string& name, const std::string& help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }

  prometheus::Family<prometheus::Gauge>& jobs_;
  prometheus::Gauge& teachers_;
  prometheus::Gauge& worker_restarts_;
  prometheus::Gauge& teacher_restarts_;
};

uint32_t CountGpus() {
  std::error_code error;
  const std::filesystem::directory_iterator gpus("/proc/driver/nvidia/gpus", error);
  return error ? 0 : static_cast<uint32_t>(std::distance(begin(gpus), end(gpus)));
}

absl::Status Serve(const Flags& flags, const StopSignals& stop_signals) {
  KD_RETURN_IF_ERROR(CheckLoopback("--listen", flags.listen));
  KD_RETURN_IF_ERROR(CheckLoopback("--ops-listen", flags.ops_listen));
  KD_RETURN_IF_ERROR(CreateFolders(flags.folder));
  std::error_code error;
  const std::string folder = std::filesystem::canonical(flags.folder, error).string();
  const std::string self = std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();

  KD_ASSIGN_OR_RETURN(const std::unique_ptr<JobDatabase> database, JobDatabase::Open(folder + "/jobs.sqlite"));
  LocalLauncher launcher;
  RendezvousTable rendezvous;
  CoordinatorOptions options{
      .folder = folder, .registry_url = flags.registry, .version = kVersion, .programs = self, .gpus = CountGpus()};
  options.policy.max_jobs = flags.max_jobs;
  options.policy.teacher_idle = absl::Seconds(flags.teacher_idle_s);
  options.find_teacher = [folder, registry = flags.registry](const v1::TeacherSpec& teacher) {
    return ReadTeacherWeights(teacher, folder, registry);
  };
  options.on_generation_started = [&rendezvous](const std::string& prefix) { rendezvous.Begin(prefix); };
  options.on_generation_ended = [&rendezvous](const std::string& prefix) { rendezvous.End(prefix); };
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Coordinator> coordinator,
                      Coordinator::Create(std::move(options), *database, launcher));

  const std::unique_ptr<grpc::Service> jobs = NewJobService(*coordinator), workers = NewWorkerService(*coordinator),
                                       meeting = NewRendezvousService(rendezvous);
  KD_ASSIGN_OR_RETURN(RunningGrpcServer running,
                      StartGrpcServer(flags.listen, {jobs.get(), workers.get(), meeting.get()}));
  // Also when the rest cannot start: a client may be in the middle of a call.
  const auto shut_down = absl::MakeCleanup(
      [&running] { running.server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100)); });
  coordinator->SetAddress(running.address);

  const auto registry = std::make_shared<prometheus::Registry>();
  Metrics metrics(*registry);
  metrics.Show(coordinator->Count());
  HttpRoutes routes;
  AddOpsEndpoints(registry, [&coordinator] { return coordinator->Ready(); }, routes);
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> ops, HttpServer::Start({.listen = flags.ops_listen}, routes));

  absl::Notification stop;
  std::thread ticker([&] {
    while (!stop.WaitForNotificationWithTimeout(kTick)) {
      coordinator->Tick();
      metrics.Show(coordinator->Count());
    }
  });
  const auto stop_ticking = [&] {
    if (!ticker.joinable()) return;
    stop.Notify();
    ticker.join();
  };
  const auto end = absl::MakeCleanup(stop_ticking);
  if (!flags.ops_address_file.empty()) KD_RETURN_IF_ERROR(WriteFileAtomically(flags.ops_address_file, ops->address()));
  if (!flags.address_file.empty()) KD_RETURN_IF_ERROR(WriteFileAtomically(flags.address_file, running.address));
  LogInfo("serving \"", folder, "\" on ", running.address, ", metrics on http://", ops->address(), "/metrics");
  stop_signals.Wait();
  if (flags.parent == 0) {
    LogInfo("stopping; teachers and workers go on and wait for the next coordinator");
    return absl::OkStatus();
  }
  LogInfo("stopping, with all teachers and workers; jobs go on from their checkpoints when a coordinator is back");
  stop_ticking();
  coordinator->EndProcesses(kProcessFarewell);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const StopSignals stop_signals;
  Flags flags;
  CLI::App app{"Takes jobs, starts teachers and workers, and sees that every job ends", "kd-coordinator"};
  app.add_option("--listen", flags.listen, "Loopback address of its services; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--folder", flags.folder, "Folder of jobs, logs, checkpoints and teachers; made if missing")
      ->required();
  app.add_option("--registry", flags.registry, "URL of the registry")->capture_default_str();
  app.add_option("--ops-listen", flags.ops_listen, "Loopback address of /metrics, /healthz and /readyz")
      ->capture_default_str();
  app.add_option("--address-file", flags.address_file, "Write the address here once it serves");
  app.add_option("--ops-address-file", flags.ops_address_file, "Write the address of /metrics here");
  app.add_option("--max-jobs", flags.max_jobs, "Jobs that run at once")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  app.add_option("--teacher-idle", flags.teacher_idle_s, "Seconds after which an unused teacher is stopped")
      ->capture_default_str();
  app.add_option("--parent", flags.parent,
                 "Process that started this one: stop when it ends, and stop all teachers and workers then");
  return RunProgram(app, argc, argv, [&] {
    if (flags.parent != 0) StopWithParent(flags.parent);
    return Serve(flags, stop_signals);
  });
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
