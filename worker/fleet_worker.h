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

// Trains what the coordinator assigns, from the last committed checkpoint; rank 0 scores and pushes the student. Failures
// are told to the coordinator before they are returned. ABORTED: the generation has ended, nothing is left to do.
// While a step hangs in a collective and the generation has ended, the process ends itself.
absl::Status RunFleetWorker(const FleetWorkerOptions& options);

}  // namespace kd

#endif  // KD_WORKER_FLEET_WORKER_H_
