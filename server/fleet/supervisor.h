// Keeps a few programs of this machine running.
#ifndef KD_SERVER_FLEET_SUPERVISOR_H_
#define KD_SERVER_FLEET_SUPERVISOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/clock.h"
#include "server/coordinator/process.h"

namespace kd {

// Used by one thread; nothing happens by itself: call Tick() several times a second.
class Supervisor {
 public:
  // References outlive the supervisor.
  Supervisor(Launcher& launcher, const Clock& clock) : launcher_(launcher), clock_(clock) {}

  // Keeps a program running that has been started: restarts are by `spec`. `name` is for messages.
  void Keep(const std::string& name, const ProcessId& process, const ProcessSpec& spec);

  // Sees which programs have ended and starts them again: after RestartDelay() (core/job_state.h), which grows while a
  // program does not stay up for a minute. Logs both.
  void Tick();

  // Ends all programs with SIGTERM, the last one started first; what is still there after `grace` is killed. Returns
  // when all are gone.
  void StopAll(absl::Duration grace);

 private:
  struct Child {
    std::string name;
    ProcessSpec spec;
    ProcessId process;
    // Empty while it runs.
    std::string exit;
    absl::Time started;
    absl::Time not_before;
    uint32_t failures = 0;
  };

  Launcher& launcher_;
  const Clock& clock_;
  std::vector<Child> children_;
};

}  // namespace kd

#endif  // KD_SERVER_FLEET_SUPERVISOR_H_
