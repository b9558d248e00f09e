// Logit distillation on centre heat maps (SparseKD; kd-methods.md section 2.3). Every teacher tensor is a constant.
#ifndef KD_DISTILL_LOGIT_LOSS_H_
#define KD_DISTILL_LOGIT_LOSS_H_

#include <optional>
#include <string>
#include <vector>

#include "models/detector.h"
#include "torch/torch.h"

namespace kd {

enum class PointLoss { kSquare, kSmoothL1 };

// Σ M · loss(P^S − P^T) / (Σ M + 1e-6): M is B x H x W, probabilities B x C x H x W; the sum runs over classes, the
// normaliser is the mask's mass in the whole batch.
torch::Tensor MaskedProbabilityLoss(const torch::Tensor& student, const torch::Tensor& teacher,
                                    const torch::Tensor& mask, PointLoss loss);

// How the position weight M is made from the teacher's probabilities and the ground truth's Gaussians.
struct PositionMask {
  // M starts as 1 where max_c P^T > threshold.
  double threshold = 0;
  // Times max_c P^T.
  bool soft = false;
  // Times max_c G when soft, else times 1[Σ_c G > 0].
  bool foreground = false;
  // K best (class, cell) pairs of P^T over all heads; -1: all.
  int64_t rank = -1;
};
// One mask per head, B x H x W. With a rank the heads share one mask, the union over heads, as released.
std::vector<torch::Tensor> PositionMasks(const std::vector<torch::Tensor>& teacher_probabilities,
                                         const std::vector<torch::Tensor>& gaussians, const PositionMask& options);

// Bilinear resize, half-pixel centres, to height x width; the map itself when it has that size.
torch::Tensor ResizeMap(const torch::Tensor& map, int64_t height, int64_t width);

// CornerNet's focal loss with a soft target t: positives t >= positive_threshold; for the others (1 - t)^4; divided by
// the number of positives, undivided when there is none.
torch::Tensor SoftTargetFocalLoss(const torch::Tensor& probability, const torch::Tensor& target,
                                  double positive_threshold);

// -mean over (B, K) of p^T log p^S where p = probabilities at the teacher's top-K pairs over their sum + 1e-6.
torch::Tensor RankLoss(const torch::Tensor& student, const torch::Tensor& teacher, int64_t rank);

}  // namespace kd

#endif  // KD_DISTILL_LOGIT_LOSS_H_
