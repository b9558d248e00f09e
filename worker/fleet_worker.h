// One rank of a job of the fleet, from Join to Finish.
#ifndef KD_WORKER_FLEET_WORKER_H_
#define KD_WORKER_FLEET_WORKER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace kd {

struct FleetWorkerOptions {
  // HOST:PORT.
  std::string coordinator;
  std::string job;
  uint32_t generation = 0;
  uint32_t rank = 0;
};

// Trains what the coordinator assigns, from the last committed checkpoint, together with the job's other ranks; rank 0
// keeps checkpoints, scores and pushes the student. Failures are told to the coordinator before they are returned.
// ABORTED: the generation has ended, nothing is left to do. When it has ended and this call does not return within
// seconds, because a step hangs in a collective, the whole process ends.
absl::Status RunFleetWorker(const FleetWorkerOptions& options);

}  // namespace kd

#endif  // KD_WORKER_FLEET_WORKER_H_
