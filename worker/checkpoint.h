// What a worker needs to go on as if it had never stopped.
#ifndef KD_WORKER_CHECKPOINT_H_
#define KD_WORKER_CHECKPOINT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "models/adam_onecycle.h"
#include "torch/torch.h"

namespace kd {

// Writes student weights ("student.*"), adapters of the methods ("methods.*"), optimiser moments, the generator's state
// and the number of steps taken, atomically and synced. Returns the file's digest. RESOURCE_EXHAUSTED: disk full.
absl::StatusOr<std::string> SaveCheckpoint(const std::string& path, uint64_t step, torch::nn::Module& student,
                                           torch::nn::Module& methods, const AdamOneCycle& optimizer);

// Restores all of it and returns the step. DATA_LOSS: the file is damaged or belongs to another student (says what and
// how to go on); nothing is half restored.
absl::StatusOr<uint64_t> LoadCheckpoint(const std::string& path, torch::nn::Module& student, torch::nn::Module& methods,
                                        AdamOneCycle& optimizer);

}  // namespace kd

#endif  // KD_WORKER_CHECKPOINT_H_
