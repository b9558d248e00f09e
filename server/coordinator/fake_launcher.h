// Tests only.
#ifndef KD_SERVER_COORDINATOR_FAKE_LAUNCHER_H_
#define KD_SERVER_COORDINATOR_FAKE_LAUNCHER_H_

#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "server/coordinator/process.h"

namespace kd {

// Processes that do nothing until the test says so. They are numbered from 1000 on.
class FakeLauncher : public Launcher {
 public:
  absl::StatusOr<ProcessId> Start(const ProcessSpec& spec) override {
    if (!refusal.empty()) return absl::UnavailableError(refusal);
    started.push_back(spec);
    running.insert(next_);
    return ProcessId{.pid = next_++, .start_ticks = 1, .boot_id = "boot"};
  }
  std::optional<std::string> Poll(const ProcessId& process) override {
    if (running.contains(process.pid)) return std::nullopt;
    return "was killed by signal 9";
  }
  absl::StatusOr<ProcessId> Find(int64_t pid, const std::vector<std::string>& arguments) override {
    const size_t index = static_cast<size_t>(pid - 1000);
    if (!running.contains(pid) || !std::equal(arguments.begin(), arguments.end(), started[index].arguments.begin())) {
      return absl::NotFoundError("another process");
    }
    return ProcessId{.pid = pid, .start_ticks = 1, .boot_id = "boot"};
  }
  void Signal(const ProcessId& process, int signal) override {
    signals.emplace_back(process.pid, signal);
    if (!ignored.contains(signal)) running.erase(process.pid);
  }

  // Not empty: nothing can be started, for this reason.
  std::string refusal;
  // Signals that end no process.
  std::set<int> ignored;
  std::vector<ProcessSpec> started;
  std::set<int64_t> running;
  std::vector<std::pair<int64_t, int>> signals;

 private:
  int64_t next_ = 1000;
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_FAKE_LAUNCHER_H_
