// CenterHead: branches, targets, losses and decoding (detectors.md section 6).
#ifndef KD_MODELS_CENTER_HEAD_H_
#define KD_MODELS_CENTER_HEAD_H_

#include <array>
#include <string>
#include <vector>

#include "models/box_suppression.h"
#include "models/detector.h"
#include "torch/torch.h"

namespace kd {

struct CenterHeadOptions {
  int64_t in_channels = 384;
  int64_t shared_channels = 64;
  // Class ids (from 0, into the detector's class list) of each head.
  std::vector<std::vector<int64_t>> heads;
  bool use_bias_before_norm = true;
  int64_t num_conv = 2;
  bool with_velocity = false;
  // CaKDP's second heat map, after hm.
  bool with_iou = false;
  double bn_eps = 1e-5;
  double bn_momentum = 0.1;

  // Regression codes: 8, or 10 with velocity.
  int64_t code_size() const { return with_velocity ? 10 : 8; }
};

// Regression branches in registration and code order; "hm" comes after them.
std::vector<std::string> RegressionBranches(bool with_velocity);

// Parameters shared_conv.{0,1}.* and heads_list.{h}.{branch}.{i}.*.
class CenterHeadModuleImpl : public torch::nn::Module {
 public:
  explicit CenterHeadModuleImpl(const CenterHeadOptions& options);
  // B x C x H x W -> raw outputs per head.
  std::vector<HeadOutputs> forward(const torch::Tensor& features);

 private:
  struct Branch {
    std::string name;
    torch::nn::Sequential layers;
  };
  torch::nn::Sequential shared_;
  std::vector<std::vector<Branch>> heads_;
};
TORCH_MODULE(CenterHeadModule);

struct CenterTargetOptions {
  std::vector<std::vector<int64_t>> heads;
  std::array<float, 3> voxel_size{};
  std::array<float, 6> range{};
  // Voxels per cell of the map, along x and y.
  int64_t stride = 1;
  int64_t height = 0, width = 0;
  int64_t num_max_objs = 500;
  float gaussian_overlap = 0.1f;
  int64_t min_radius = 2;
  int64_t code_size = 8;
};

// gt_boxes B x M x (8 or 10): x y z dx dy dz yaw [vx vy] label; labels from 1, zero rows pad. The k-th box of a head's
// classes fills slot k; boxes outside the map are pulled to its border; a box without length or width is skipped but
// keeps its slot. Boxes beyond num_max_objs are dropped.
std::vector<HeadTargets> AssignCenterTargets(const torch::Tensor& gt_boxes, const CenterTargetOptions& options);

// Sigmoid clamped to [1e-4, 1 - 1e-4].
torch::Tensor ClampedSigmoid(const torch::Tensor& logits);

// Penalty-reduced focal loss of CornerNet on probabilities: divided by the number of cells with target 1, undivided
// when there is none.
torch::Tensor HeatmapFocalLoss(const torch::Tensor& probability, const torch::Tensor& target);

// Maps B x codes x H x W of the regression branches, gathered at inds (B x K) -> B x K x codes.
torch::Tensor ConcatRegression(const HeadOutputs& head, bool with_velocity);
torch::Tensor GatherCells(const torch::Tensor& map, const torch::Tensor& inds);

// Per code: sum over valid slots |prediction - target| / max(#valid, 1); targets that are NaN are left out.
// prediction, target B x K x codes, masks B x K -> codes.
torch::Tensor RegressionL1(const torch::Tensor& prediction, const torch::Tensor& target, const torch::Tensor& masks);

struct CenterDecodeOptions {
  std::vector<std::vector<int64_t>> heads;
  std::array<float, 3> voxel_size{};
  std::array<float, 6> range{};
  int64_t stride = 1;
  float score_thresh = 0.1f;
  // Empty: no limit.
  std::vector<float> post_center_limit_range;
  int64_t max_obj_per_sample = 500;
  NmsOptions nms;
  // Suppress within a class only.
  bool nms_per_class = false;
  bool with_velocity = false;
};

struct CenterBoxes {
  torch::Tensor boxes;   // N x 7 (or 9 with velocity)
  torch::Tensor scores;  // N
  torch::Tensor labels;  // N int64
};
// Boxes of one head, per frame, before suppression; labels count from 0 inside the head. No gradient.
std::vector<CenterBoxes> DecodeCenterHead(const HeadOutputs& head, const CenterDecodeOptions& options);
// All heads of one frame: suppression per head where `nms`, concatenated, labels from 1 in the global class list.
CenterBoxes JoinHeads(const std::vector<CenterBoxes>& heads, const CenterDecodeOptions& options, bool nms);

}  // namespace kd

#endif  // KD_MODELS_CENTER_HEAD_H_
