// Feature distillation on bird's-eye-view maps (kd-methods.md section 2.7). Teacher tensors are constants.
#ifndef KD_DISTILL_FEATURE_LOSS_H_
#define KD_DISTILL_FEATURE_LOSS_H_

#include <array>

#include "distill/logit_loss.h"
#include "torch/torch.h"

namespace kd {

// Mean squared (or smooth L1) difference of two maps B x C x H x W. With a mask (B x H x W): Σ M loss / (C Σ M + 1e-6).
torch::Tensor FeatureMapLoss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                             PointLoss loss);

// Attention maps a = mean_c |F|: Σ M loss(a^S - a^T) / (Σ M + 1e-6).
torch::Tensor AttentionLoss(const torch::Tensor& student, const torch::Tensor& teacher, const torch::Tensor& mask,
                            PointLoss loss);

// What places RoIs on a map: lower corner of the range and metres per cell.
struct MapGeometry {
  std::array<float, 2> low{};
  std::array<float, 2> cell{};
};

// k x k samples per box of `rois` (B x N x >= 7; rows without length are skipped), frame after frame -> R x C x k x k.
// Bilinear with zeros outside; sampled positions keep the release's stretch p * W / (W - 1) - 0.5.
torch::Tensor RotatedGridPool(const torch::Tensor& map, const torch::Tensor& rois, int64_t grid,
                              const MapGeometry& geometry);

// Relation of pooled RoI features, per frame: smooth L1 between squared distance matrices, each divided by its mean,
// averaged over the batch. `rois_per_frame` counts the rows of each frame; frames with fewer than 2 add 0.
torch::Tensor RelationLoss(const torch::Tensor& student, const torch::Tensor& teacher,
                           const std::vector<int64_t>& rois_per_frame);

// Mean loss between cosine affinities of the k*k positions inside each RoI.
torch::Tensor AffinityLoss(const torch::Tensor& student, const torch::Tensor& teacher, PointLoss loss);

}  // namespace kd

#endif  // KD_DISTILL_FEATURE_LOSS_H_
