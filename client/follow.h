// Following a job until something happens to it.
#ifndef KD_CLIENT_FOLLOW_H_
#define KD_CLIENT_FOLLOW_H_

#include <ostream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/fleet_client.h"
#include "kd/v1/coordinator.pb.h"

namespace kd {

// While it lives, Ctrl-C is noticed instead of ending the program. One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
  bool interrupted() const;
};

// How long a Ctrl-C may go unnoticed.
inline constexpr absl::Duration kInterruptPoll = absl::Milliseconds(100);

struct FollowOptions {
  // Stop when the job is there or has come past it; any final state always stops.
  v1::JobState until = v1::JOB_STATE_SUCCEEDED;
  absl::Duration timeout = absl::InfiniteDuration();
  // Where the job's lines go. `redraw`: one block that is drawn over itself; else a line when something moved, at most
  // one in `every`.
  std::ostream* out = nullptr;
  bool redraw = false;
  absl::Duration every = absl::Seconds(1);
};

// Follows the job, then reports how it ended on stderr, with the next command. The exit code is kExitOk when `until`
// was reached, kExitJobEndedBadly when the job ended without, kExitFailed after the timeout, kExitInterrupted after
// Ctrl-C (the job goes on).
int FollowJob(FleetClient& fleet, const std::string& id, const FollowOptions& options);

// True when a job in `state` has been in `wanted` or has come past it in good order.
bool HasReached(v1::JobState state, v1::JobState wanted);

}  // namespace kd

#endif  // KD_CLIENT_FOLLOW_H_
