// A whole job in one process, without a fleet: for tests, measurements and looking around.
#ifndef KD_WORKER_STANDALONE_H_
#define KD_WORKER_STANDALONE_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "kd/v1/coordinator.pb.h"
#include "kd/v1/job.pb.h"

namespace kd {

struct StandaloneResult {
  // worker/evaluate.h
  std::map<std::string, double> metrics;
  std::string weights_path;
  // Manifest digest in the registry; empty when nothing was pushed.
  std::string artifact_digest;
};

// Trains `pair`, whose teacher (if any) must be a weights file; evaluates on the validation split and writes
// model.safetensors and metrics.json into `folder`. The teacher answers from the service at `teacher_address`, or in
// this process when that is empty. The student is pushed to the registry at `registry_url` under pair.output, unless
// that is empty.
absl::StatusOr<StandaloneResult> RunStandalone(const v1::Pair& pair, const std::string& folder,
                                               const std::string& teacher_address,
                                               const std::string& registry_url = "");

// One log line.
std::string ProgressLine(const v1::Progress& progress);

}  // namespace kd

#endif  // KD_WORKER_STANDALONE_H_
