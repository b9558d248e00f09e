// kd-fleet: the whole service on this machine. Ctrl-C stops all of it.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/http/http_address.h"
#include "base/log.h"
#include "base/program.h"
#include "base/status.h"
#include "base/stop_signals.h"
#include "base/text.h"
#include "server/fleet/supervisor.h"

namespace kd {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr absl::Duration kStart = absl::Seconds(30);
constexpr absl::Duration kPoll = absl::Milliseconds(20);
// Longer than what the coordinator gives its teachers and workers.
constexpr absl::Duration kFarewell = absl::Seconds(30);
constexpr size_t kLongestQuote = 300;
constexpr char kDefaultListen[] = "127.0.0.1:7070";

struct Flags {
  std::string folder, listen = kDefaultListen, registry_listen = "127.0.0.1:7071", ops_listen = "127.0.0.1:7072",
                      address_file;
  std::optional<uint32_t> max_jobs, teacher_idle;
};

// Its whole state lies in one folder, so that one process at a time may own it. Held until the process ends.
absl::Status LockFolder(const std::string& folder) {
  const std::string path = folder + "/lock";
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0)
    return absl::FailedPreconditionError(absl::StrCat("cannot write in \"", folder, "\"; name another with --folder"));
  if (::flock(file, LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("another kd-fleet uses \"", folder, "\"; stop it, or name another folder with --folder"));
}

// The last line of a log behind its first `seen` bytes.
std::string LastLine(const std::string& path, uint64_t seen) {
  const absl::StatusOr<std::string> log = ReadFile(path);
  if (!log.ok() || log->size() <= seen) return "it wrote nothing";
  const std::vector<absl::string_view> lines =
      absl::StrSplit(absl::string_view(*log).substr(seen), '\n', absl::SkipWhitespace());
  return lines.empty() ? "it wrote nothing" : Shorten(lines.back(), kLongestQuote);
}

uint64_t SizeOf(const std::string& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

class Fleet {
 public:
  Fleet(const Flags& flags, std::string folder, std::string programs)
      : flags_(flags),
        folder_(std::move(folder)),
        programs_(std::move(programs)),
        supervisor_(launcher_, Clock::Real()) {}
  ~Fleet() { supervisor_.StopAll(kFarewell); }

  // CANCELLED: it was asked to stop before all was up.
  absl::Status Start(const StopSignals& stop_signals) {
    stop_signals_ = &stop_signals;
    KD_RETURN_IF_ERROR(CreateFolders(folder_ + "/logs"));
    KD_ASSIGN_OR_RETURN(registry_, StartProgram(
                                       "kd-registry",
                                       [this](const std::string& listen) {
                                         return std::vector<std::string>{"--folder", folder_ + "/registry", "--listen",
                                                                         listen};
                                       },
                                       flags_.registry_listen, "--registry-listen"));
    KD_ASSIGN_OR_RETURN(
        coordinator_, StartProgram(
                          "kd-coordinator",
                          [this](const std::string& listen) {
                            std::vector<std::string> arguments = {"--folder",     folder_,
                                                                  "--listen",     listen,
                                                                  "--registry",   "http://" + registry_,
                                                                  "--ops-listen", flags_.ops_listen};
                            if (flags_.max_jobs.has_value())
                              arguments.insert(arguments.end(), {"--max-jobs", absl::StrCat(*flags_.max_jobs)});
                            if (flags_.teacher_idle.has_value())
                              arguments.insert(arguments.end(), {"--teacher-idle", absl::StrCat(*flags_.teacher_idle)});
                            return arguments;
                          },
                          flags_.listen, "--listen and --ops-listen"));
    return absl::OkStatus();
  }

  void Tick() { supervisor_.Tick(); }

  const std::string& coordinator() const { return coordinator_; }
  const std::string& registry() const { return registry_; }

 private:
  ProcessSpec Spec(const std::string& program, std::vector<std::string> arguments) const {
    ProcessSpec spec{.arguments = {programs_ + "/" + program, "--parent", absl::StrCat(::getpid()), "--address-file",
                                   AddressFile(program)},
                     .log_path = absl::StrCat(folder_, "/logs/", program, ".log")};
    spec.arguments.insert(spec.arguments.end(), arguments.begin(), arguments.end());
    return spec;
  }
  std::string AddressFile(const std::string& program) const { return absl::StrCat(folder_, "/", program, ".address"); }

  // Returns the address where it serves, which later restarts keep. `flags`: this program's that choose its addresses.
  absl::StatusOr<std::string> StartProgram(const std::string& program,
                                           const std::function<std::vector<std::string>(const std::string&)>& arguments,
                                           const std::string& listen, absl::string_view flags) {
    std::error_code ignored;
    std::filesystem::remove(AddressFile(program), ignored);
    const ProcessSpec spec = Spec(program, arguments(listen));
    const uint64_t seen = SizeOf(spec.log_path);
    KD_ASSIGN_OR_RETURN(const ProcessId process, launcher_.Start(spec));
    const absl::Time deadline = absl::Now() + kStart;
    std::optional<std::string> end;
    while (!end.has_value() && absl::Now() < deadline) {
      const absl::StatusOr<std::string> address = ReadFile(AddressFile(program));
      if (address.ok()) {
        supervisor_.Keep(program, process, Spec(program, arguments(*address)));
        return address;
      }
      if (stop_signals_->WaitFor(kPoll)) {
        launcher_.Signal(process, SIGTERM);
        return absl::CancelledError(absl::StrCat("asked to stop before ", program, " served"));
      }
      end = launcher_.Poll(process);
    }
    if (!end.has_value()) {
      launcher_.Signal(process, SIGKILL);
      return absl::DeadlineExceededError(
          absl::StrCat(program, " does not serve after ", absl::FormatDuration(kStart), "; see ", spec.log_path));
    }
    return absl::FailedPreconditionError(absl::StrCat(program, " ", *end, " (", LastLine(spec.log_path, seen),
                                                      "); its addresses are chosen by ", flags, ", its log is ",
                                                      spec.log_path));
  }

  const Flags& flags_;
  const std::string folder_, programs_;
  LocalLauncher launcher_;
  const StopSignals* stop_signals_ = nullptr;
  Supervisor supervisor_;
  std::string registry_, coordinator_;
};

absl::Status Run(const Flags& flags, const StopSignals& stop_signals) {
  KD_RETURN_IF_ERROR(CheckLoopback("--listen", flags.listen));
  KD_RETURN_IF_ERROR(CheckLoopback("--registry-listen", flags.registry_listen));
  KD_RETURN_IF_ERROR(CheckLoopback("--ops-listen", flags.ops_listen));
  KD_RETURN_IF_ERROR(Annotate(CreateFolders(flags.folder), "--folder"));
  std::error_code error;
  const std::string folder = std::filesystem::canonical(flags.folder, error).string();
  KD_RETURN_IF_ERROR(LockFolder(folder));
  {
    Fleet fleet(flags, folder, std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string());
    KD_RETURN_IF_ERROR(fleet.Start(stop_signals));
    if (!flags.address_file.empty()) KD_RETURN_IF_ERROR(WriteFileAtomically(flags.address_file, fleet.coordinator()));
    LogInfo("coordinator on ", fleet.coordinator(), ", registry on http://", fleet.registry(), ", all state in ",
            folder);
    const std::string with =
        fleet.coordinator() == kDefaultListen ? "" : absl::StrCat("KD_ADDRESS=", fleet.coordinator(), " ");
    LogInfo("Ctrl-C stops everything; next, in another terminal: ", with,
            "kdctl submit examples/teacher-sim.yaml --wait");
    while (!stop_signals.WaitFor(kTick)) fleet.Tick();
    LogInfo("stopping");
  }
  LogInfo("stopped; jobs, checkpoints, caches and students are kept in ", folder, "; go on with: kd-fleet --folder ",
          folder, flags.listen == kDefaultListen ? "" : absl::StrCat(" --listen ", flags.listen));
  return absl::OkStatus();
}

std::string DefaultFolder() {
  const char* const home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "." : home, "/.kdfleet");
}

int Main(int argc, char** argv) {
  const StopSignals stop_signals;
  Flags flags{.folder = DefaultFolder()};
  CLI::App app{"Runs coordinator and registry on this machine, which start teachers and workers as jobs need them",
               "kd-fleet"};
  app.add_option("--folder", flags.folder, "Folder of everything that the fleet keeps; made if missing")
      ->envname("KD_FOLDER")
      ->capture_default_str();
  app.add_option("--listen", flags.listen, "Loopback address of the coordinator; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--registry-listen", flags.registry_listen, "Loopback address of the registry")->capture_default_str();
  app.add_option("--ops-listen", flags.ops_listen,
                 "Loopback address of the coordinator's /metrics, /healthz and /readyz")
      ->capture_default_str();
  app.add_option("--address-file", flags.address_file, "Write the coordinator's address here once it serves");
  app.add_option("--max-jobs", flags.max_jobs, "Jobs that run at once")->check(CLI::Range(1, 1024));
  app.add_option("--teacher-idle", flags.teacher_idle, "Seconds after which an unused teacher is stopped");
  return RunProgram(app, argc, argv, [&] { return Run(flags, stop_signals); });
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
