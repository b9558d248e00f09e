// How workers and teachers call the coordinator: through its restarts, up to a deadline.
#ifndef KD_SERVER_COORDINATOR_COORDINATOR_CLIENT_H_
#define KD_SERVER_COORDINATOR_COORDINATOR_CLIENT_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kd/v1/coordinator.pb.h"

namespace kd {

// Thread-safe. A coordinator that does not answer is asked again for `patience`; then UNAVAILABLE, saying for how long.
// Every other error is the coordinator's own answer; ABORTED: the generation, or the teacher's process, is no longer
// wanted and should exit.
class CoordinatorClient {
 public:
  // `address` is HOST:PORT.
  CoordinatorClient(const std::string& address, absl::Duration patience);
  ~CoordinatorClient();

  absl::StatusOr<v1::Assignment> Join(const v1::JoinRequest& request);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  absl::StatusOr<v1::CommitCheckpointResponse> CommitCheckpoint(const v1::CommitCheckpointRequest& request);
  absl::Status Finish(const v1::FinishRequest& request);
  absl::Status Fail(const v1::FailRequest& request);
  absl::StatusOr<v1::RegisterTeacherResponse> RegisterTeacher(const v1::RegisterTeacherRequest& request);

  // Calls that wait for a coordinator that does not answer give up soon, with CANCELLED.
  void StopWaiting();

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_COORDINATOR_CLIENT_H_
