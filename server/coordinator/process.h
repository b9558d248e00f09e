// Starting, watching and ending processes of this machine.
#ifndef KD_SERVER_COORDINATOR_PROCESS_H_
#define KD_SERVER_COORDINATOR_PROCESS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kd {

// Names a process beyond its number, which the kernel gives again.
struct ProcessId {
  int64_t pid = 0;
  // Start time in clock ticks since boot (field 22 of /proc/PID/stat).
  uint64_t start_ticks = 0;
  std::string boot_id;

  friend bool operator==(const ProcessId&, const ProcessId&) = default;
};

struct ProcessSpec {
  // The program's path and its arguments.
  std::vector<std::string> arguments;
  // Set in addition to this process's own.
  std::map<std::string, std::string> environment;
  // Standard output and error are appended here; the folder exists.
  std::string log_path;
};

// Used by one thread at a time.
class Launcher {
 public:
  virtual ~Launcher() = default;
  // UNAVAILABLE: the program cannot be started, with the reason.
  virtual absl::StatusOr<ProcessId> Start(const ProcessSpec& spec) = 0;
  // How the process ended, as "exited with code 1" or "was killed by signal 9"; empty while it runs. After the first
  // report of a child its status is gone: it is then only known to have "ended".
  virtual std::optional<std::string> Poll(const ProcessId& process) = 0;
  // The running process of this number, if its command line begins with `arguments`. NOT_FOUND otherwise.
  virtual absl::StatusOr<ProcessId> Find(int64_t pid, const std::vector<std::string>& arguments) = 0;
  // Nothing happens when it has ended.
  virtual void Signal(const ProcessId& process, int signal) = 0;
};

// Processes of this machine, each in a process group of its own: a Ctrl-C at the terminal is not theirs, and they
// outlive their starter.
class LocalLauncher : public Launcher {
 public:
  absl::StatusOr<ProcessId> Start(const ProcessSpec& spec) override;
  std::optional<std::string> Poll(const ProcessId& process) override;
  absl::StatusOr<ProcessId> Find(int64_t pid, const std::vector<std::string>& arguments) override;
  void Signal(const ProcessId& process, int signal) override;
};

// The process that has this number now. NOT_FOUND: none, or one that has ended and waits to be reaped.
absl::StatusOr<ProcessId> IdentifyProcess(int64_t pid);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_PROCESS_H_
