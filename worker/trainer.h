// The training loop: loader, student, losses, optimiser, checkpoints.
#ifndef KD_WORKER_TRAINER_H_
#define KD_WORKER_TRAINER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/safetensors.h"
#include "data/dataset.h"
#include "data/view.h"
#include "kd/v1/coordinator.pb.h"
#include "kd/v1/job.pb.h"
#include "models/detector.h"
#include "worker/gradient_sync.h"
#include "worker/response_source.h"

namespace kd {

struct TrainerOptions {
  v1::Pair pair;
  // Checkpoints go to FOLDER/checkpoints.
  std::string folder;
  const Dataset* dataset = nullptr;
  // Of `dataset`.
  const ViewMaker* views = nullptr;
  // The teacher's weights file; empty without a teacher.
  std::string teacher_weights;
  std::unique_ptr<ResponseSource> source;
  // Checkpoint to resume from; empty: from the beginning.
  std::string checkpoint;
  // Rank and world of the job; a single worker needs no group. Must not have been used before.
  GradientSync* sync = nullptr;
  // Where the student learns (models/device.h).
  torch::Device device = torch::kCPU;

  // Every second or so, and once more at the end. Losses are this rank's, rates are all ranks'.
  std::function<void(const v1::Progress&)> on_progress;
  // After a checkpoint is on disk, on rank 0 only. Returns files that may go.
  std::function<absl::StatusOr<std::vector<std::string>>(uint64_t step, const std::string& path,
                                                         const std::string& digest)>
      on_checkpoint;
  // Asked at every step border; an error ends the training with it.
  std::function<absl::Status()> should_go_on;
};

// The configuration that a pair's student has. `teacher` is its weights file, if there is one.
absl::StatusOr<v1::Detector> StudentDetector(const v1::Pair& pair, const v1::Detector* teacher);

// Trains to the end of the job and returns the student in evaluation mode, the same on every rank. With N ranks a step
// is taken on the mean of N batches' gradients; running statistics of batch norms are rank 0's. On a CPU the result is
// a function of the job alone, bit for bit, however often it was stopped and resumed. FAILED_PRECONDITION: loss is not
// a number (step, frames and term named), or the loader's refusals. DATA_LOSS: a damaged checkpoint. INVALID_ARGUMENT:
// a method that this pair of detectors cannot use. From GradientSync: a rank was lost.
absl::StatusOr<DetectorModel> Train(TrainerOptions options);

}  // namespace kd

#endif  // KD_WORKER_TRAINER_H_
