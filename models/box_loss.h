// Elementwise losses of anchor heads (detectors.md section 5).
#ifndef KD_MODELS_BOX_LOSS_H_
#define KD_MODELS_BOX_LOSS_H_

#include <vector>

#include "torch/torch.h"

namespace kd {

// Sigmoid focal loss, not reduced: alpha_t (1 - p_t)^gamma times the binary cross-entropy. logits and targets of one
// shape.
torch::Tensor SigmoidFocalLoss(const torch::Tensor& logits, const torch::Tensor& targets, double alpha = 0.25,
                               double gamma = 2);

// Smooth L1 of code_weights * (input - target), not reduced; 0 where the target is NaN. input, target ... x codes;
// empty code weights are all 1.
torch::Tensor WeightedSmoothL1(const torch::Tensor& input, const torch::Tensor& target, double beta,
                               const std::vector<float>& code_weights);

}  // namespace kd

#endif  // KD_MODELS_BOX_LOSS_H_
