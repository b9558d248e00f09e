// What the ranks of a job share after every backward pass. Collectives are c10d's.
#ifndef KD_WORKER_GRADIENT_SYNC_H_
#define KD_WORKER_GRADIENT_SYNC_H_

#include <vector>

#include "absl/status/status.h"
#include "torch/torch.h"

namespace kd {

class GradientSync {
 public:
  virtual ~GradientSync() = default;
  virtual uint32_t rank() const = 0;
  virtual uint32_t world_size() const = 0;
  // Replaces every tensor by its mean over the ranks. DEADLINE_EXCEEDED or UNAVAILABLE: a rank was lost.
  virtual absl::Status Average(const std::vector<torch::Tensor>& tensors) = 0;
  // Makes every rank's tensors equal to rank 0's.
  virtual absl::Status Broadcast(const std::vector<torch::Tensor>& tensors) = 0;
};

}  // namespace kd

#endif  // KD_WORKER_GRADIENT_SYNC_H_
