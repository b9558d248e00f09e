// The worker beside this program runs networks: kdctl itself is free of LibTorch.
#ifndef KD_CLIENT_WORKER_PROGRAM_H_
#define KD_CLIENT_WORKER_PROGRAM_H_

#include <string>
#include <vector>

#include "client/output.h"

namespace kd {

// Becomes `kd-worker ARGUMENTS`; its exit code is then kdctl's. Returns only if there is no worker, which it reports.
ExitCode BecomeWorker(std::vector<std::string> arguments);

}  // namespace kd

#endif  // KD_CLIENT_WORKER_PROGRAM_H_
