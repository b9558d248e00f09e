// AnchorHeadSingle: maps, targets, losses and decoding (detectors.md section 5). B frames of N = H * W * A anchors.
#ifndef KD_MODELS_ANCHOR_HEAD_H_
#define KD_MODELS_ANCHOR_HEAD_H_

#include <map>
#include <string>
#include <vector>

#include "ops/anchors.h"
#include "torch/torch.h"

namespace kd {

struct AnchorHeadOptions {
  int64_t in_channels = 512;
  int64_t num_classes = 3;
  int64_t anchors_per_cell = 6;
  int64_t code_size = 7;
  // 0: no direction classifier.
  int64_t num_dir_bins = 2;
  // CaKDP's second classification map.
  bool with_iou = false;
};

// Raw maps, each B x H x W x (A * width), as OpenPCDet keeps them.
struct AnchorOutputs {
  torch::Tensor cls_preds;      // width: classes
  torch::Tensor box_preds;      // width: codes
  torch::Tensor dir_cls_preds;  // width: bins; undefined without a direction classifier
  torch::Tensor iou_preds;      // width: classes; undefined without CaKDP's branch

  // Those of one frame, with B = 1.
  AnchorOutputs Frame(int64_t frame) const;
};

// Parameters conv_cls, conv_box[, conv_iou][, conv_dir_cls].
class AnchorHeadModuleImpl : public torch::nn::Module {
 public:
  explicit AnchorHeadModuleImpl(const AnchorHeadOptions& options);
  // B x C x H x W -> raw maps.
  AnchorOutputs forward(const torch::Tensor& features);

 private:
  torch::nn::Conv2d cls_{nullptr}, box_{nullptr}, iou_{nullptr}, dir_{nullptr};
};
TORCH_MODULE(AnchorHeadModule);

struct AnchorBatchTargets {
  torch::Tensor labels;  // B x N int64: -1 ignored, 0 background, class from 1
  torch::Tensor codes;   // B x N x codes
};
// gt_boxes B x M x 8 on the CPU: x y z dx dy dz yaw label, zero rows pad.
AnchorBatchTargets AssignAnchorTargets(const AnchorGrid& grid, const torch::Tensor& gt_boxes,
                                       const AnchorTargetOptions& options);

struct DirectionOptions {
  double offset = 0.78539;
  double limit_offset = 0;
  int64_t num_bins = 2;
};

struct AnchorLossOptions {
  int64_t num_classes = 3;
  double cls_weight = 1, loc_weight = 2, dir_weight = 0.2;
  // Empty: all 1.
  std::vector<float> code_weights;
  DirectionOptions direction;
};
// Weighted terms "rpn_loss_cls", "rpn_loss_loc" and, with a direction classifier, "rpn_loss_dir". Each is a sum over
// anchors / max(positives of the frame, 1), averaged over frames. anchors N x 7.
std::map<std::string, torch::Tensor> AnchorLoss(const AnchorOutputs& outputs, const AnchorBatchTargets& targets,
                                                const torch::Tensor& anchors, const AnchorLossOptions& options);

// Boxes B x N x 7 from raw maps; the direction bin turns them by half circles. anchors N x 7.
torch::Tensor DecodeAnchors(const AnchorOutputs& outputs, const torch::Tensor& anchors,
                            const DirectionOptions& direction);

}  // namespace kd

#endif  // KD_MODELS_ANCHOR_HEAD_H_
