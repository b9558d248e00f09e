#include "server/fleet/supervisor.h"

#include <signal.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "base/log.h"
#include "core/job_state.h"

namespace kd {
namespace {

// A program that was up for this long is not failing to start.
constexpr absl::Duration kStaysUp = absl::Minutes(1);
constexpr absl::Duration kPoll = absl::Milliseconds(20);

}  // namespace

void Supervisor::Keep(const std::string& name, const ProcessId& process, const ProcessSpec& spec) {
  children_.push_back({.name = name, .spec = spec, .process = process, .started = clock_.Now()});
}

void Supervisor::Tick() {
  for (Child& child : children_) {
    if (child.exit.empty()) {
      std::optional<std::string> exit = launcher_.Poll(child.process);
      if (!exit.has_value()) continue;
      child.exit = *std::move(exit);
      child.failures = clock_.Now() - child.started >= kStaysUp ? 1 : child.failures + 1;
      child.not_before = clock_.Now() + RestartDelay(child.failures);
      LogWarning(child.name, " ", child.exit, "; starting it again in ",
                 absl::FormatDuration(RestartDelay(child.failures)), "; its log is ", child.spec.log_path);
    }
    if (clock_.Now() < child.not_before) continue;
    child.started = clock_.Now();
    absl::StatusOr<ProcessId> process = launcher_.Start(child.spec);
    if (process.ok()) {
      child.process = *std::move(process);
      child.exit.clear();
    } else {
      child.not_before = clock_.Now() + RestartDelay(++child.failures);
      LogError(process.status().message());
    }
  }
}

void Supervisor::StopAll(absl::Duration grace) {
  const absl::Time kill_at = absl::Now() + grace;
  for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
    if (!child->exit.empty()) continue;
    launcher_.Signal(child->process, SIGTERM);
    while (!launcher_.Poll(child->process).has_value()) {
      if (absl::Now() >= kill_at) launcher_.Signal(child->process, SIGKILL);
      absl::SleepFor(kPoll);
    }
    child->exit = "was stopped";
  }
  children_.clear();
}

}  // namespace kd
