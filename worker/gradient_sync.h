// What the ranks of a job share while they train. Collectives are c10d's.
#ifndef KD_WORKER_GRADIENT_SYNC_H_
#define KD_WORKER_GRADIENT_SYNC_H_

#include <vector>

#include "absl/status/status.h"
#include "torch/torch.h"

namespace kd {

// Every rank makes the same calls in the same order, from one thread. A call that fails on one rank fails on all,
// sooner or later, and nothing can be shared after it: UNAVAILABLE (a rank was lost), DEADLINE_EXCEEDED (a rank is
// late) or ABORTED (the generation has ended); the message names this rank, the operation and who gave no sign of life.
class GradientSync {
 public:
  virtual ~GradientSync() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t world_size() const = 0;

  // Makes every rank's tensors equal to rank 0's.
  virtual absl::Status Broadcast(const std::vector<torch::Tensor>& tensors) = 0;
  // Whose gradients Backward() shares: the same parameters in the same order on every rank. Once.
  virtual absl::Status Attach(const std::vector<torch::Tensor>& parameters) = 0;
  // loss.backward(), after which every parameter holds the mean of its gradients over the ranks. A rank whose loss does
  // not reach a parameter counts as zero; a parameter that no rank's loss reaches keeps its gradient undefined.
  virtual absl::Status Backward(const torch::Tensor& loss) = 0;
  // Returns when every rank has called it. A rank that left earlier could cut off another one's last collective.
  virtual absl::Status Finish() = 0;
};

}  // namespace kd

#endif  // KD_WORKER_GRADIENT_SYNC_H_
