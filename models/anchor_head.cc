#include "models/anchor_head.h"

#include <cmath>
#include <cstring>

#include "models/box_loss.h"

namespace kd {
namespace {

namespace nn = torch::nn;
using torch::Tensor;

Tensor ChannelsLast(const Tensor& map) { return map.permute({0, 2, 3, 1}).contiguous(); }

// B x N x width.
Tensor PerAnchor(const Tensor& map, int64_t anchors) {
  // No anchors would leave the width open.
  return map.dim() == 3 && map.size(1) == anchors ? map : map.reshape({map.size(0), anchors, -1});
}

Tensor LimitPeriod(const Tensor& value, double offset, double period) {
  return value - torch::floor(value / period + offset) * period;
}

// Bins of headings.
Tensor DirectionBins(const Tensor& yaw, const DirectionOptions& o) {
  const Tensor turned = LimitPeriod(yaw - o.offset, 0, 2 * M_PI);
  return torch::floor(turned / (2 * M_PI / static_cast<double>(o.num_bins))).to(torch::kInt64).clamp(0, o.num_bins - 1);
}

// Yaw enters as sin(p) cos(t) against cos(p) sin(t), so that it costs the sine of the difference.
Tensor WithYaw(const Tensor& codes, const Tensor& yaw) {
  return torch::cat({codes.slice(2, 0, 6), yaw, codes.slice(2, 7)}, 2);
}

}  // namespace

AnchorOutputs AnchorOutputs::Frame(int64_t frame) const {
  const auto slice = [frame](const Tensor& map) { return map.defined() ? map.slice(0, frame, frame + 1) : map; };
  return {slice(cls_preds), slice(box_preds), slice(dir_cls_preds), slice(iou_preds)};
}

AnchorHeadModuleImpl::AnchorHeadModuleImpl(const AnchorHeadOptions& o) {
  const auto conv = [&](const char* name, int64_t width) {
    return register_module(name, nn::Conv2d(nn::Conv2dOptions(o.in_channels, o.anchors_per_cell * width, 1)));
  };
  cls_ = conv("conv_cls", o.num_classes);
  box_ = conv("conv_box", o.code_size);
  if (o.with_iou) iou_ = conv("conv_iou", o.num_classes);
  if (o.num_dir_bins > 0) dir_ = conv("conv_dir_cls", o.num_dir_bins);
  // Every anchor starts with a probability of 1 %.
  nn::init::constant_(cls_->bias, -std::log(99.0));
  nn::init::normal_(box_->weight, 0, 0.001);
}

AnchorOutputs AnchorHeadModuleImpl::forward(const Tensor& features) {
  AnchorOutputs outputs{.cls_preds = ChannelsLast(cls_->forward(features)),
                        .box_preds = ChannelsLast(box_->forward(features))};
  if (dir_) outputs.dir_cls_preds = ChannelsLast(dir_->forward(features));
  if (iou_) outputs.iou_preds = ChannelsLast(iou_->forward(features));
  return outputs;
}

AnchorBatchTargets AssignAnchorTargets(const AnchorGrid& grid, const Tensor& gt_boxes,
                                       const AnchorTargetOptions& options) {
  const Tensor boxes = gt_boxes.to(torch::kFloat32).contiguous();
  const int64_t batch = boxes.size(0), anchors = static_cast<int64_t>(grid.size()),
                code_size = options.coder.code_size();
  AnchorBatchTargets result{.labels = torch::empty({batch, anchors}, torch::kInt64),
                            .codes = torch::empty({batch, anchors, code_size})};
  for (int64_t b = 0; b < batch; ++b) {
    const AnchorTargets targets =
        AssignAnchors(grid, boxes[b].data_ptr<float>(), static_cast<size_t>(boxes.size(1)), options);
    std::memcpy(result.labels[b].data_ptr<int64_t>(), targets.labels.data(), targets.labels.size() * sizeof(int64_t));
    std::memcpy(result.codes[b].data_ptr<float>(), targets.codes.data(), targets.codes.size() * sizeof(float));
  }
  return result;
}

std::map<std::string, Tensor> AnchorLoss(const AnchorOutputs& outputs, const AnchorBatchTargets& targets,
                                         const Tensor& anchors, const AnchorLossOptions& o) {
  const int64_t batch = targets.labels.size(0), count = targets.labels.size(1);
  const Tensor positive = targets.labels > 0;
  const Tensor share = 1 / positive.sum(1, /*keepdim=*/true).to(torch::kFloat32).clamp_min(1);
  const Tensor positive_weights = positive.to(torch::kFloat32) * share;
  const auto mean = [batch](const Tensor& sum, double weight) { return sum.sum() / batch * weight; };

  const Tensor one_hot = torch::one_hot(targets.labels.clamp_min(0), o.num_classes + 1).slice(2, 1).to(torch::kFloat32);
  const Tensor judged = (targets.labels >= 0).to(torch::kFloat32) * share;
  const Tensor cls = SigmoidFocalLoss(PerAnchor(outputs.cls_preds, count), one_hot) * judged.unsqueeze(2);
  std::map<std::string, Tensor> terms = {{"rpn_loss_cls", mean(cls, o.cls_weight)}};

  const Tensor predicted = PerAnchor(outputs.box_preds, count);
  const Tensor p = predicted.slice(2, 6, 7), t = targets.codes.slice(2, 6, 7);
  const Tensor loc = WeightedSmoothL1(WithYaw(predicted, torch::sin(p) * torch::cos(t)),
                                      WithYaw(targets.codes, torch::cos(p) * torch::sin(t)), 1.0 / 9, o.code_weights);
  terms["rpn_loss_loc"] = mean(loc * positive_weights.unsqueeze(2), o.loc_weight);

  if (outputs.dir_cls_preds.defined()) {
    const Tensor bins = DirectionBins(targets.codes.select(2, 6) + anchors.select(1, 6), o.direction);
    const Tensor log_p = torch::log_softmax(PerAnchor(outputs.dir_cls_preds, count), 2);
    terms["rpn_loss_dir"] = mean(-log_p.gather(2, bins.unsqueeze(2)).squeeze(2) * positive_weights, o.dir_weight);
  }
  return terms;
}

Tensor DecodeAnchors(const AnchorOutputs& outputs, const Tensor& anchors, const DirectionOptions& o) {
  const Tensor codes = PerAnchor(outputs.box_preds, anchors.size(0));
  const auto code = [&](int64_t i) { return codes.select(2, i); };
  const auto anchor = [&](int64_t i) { return anchors.select(1, i); };
  const Tensor diagonal = torch::sqrt(anchor(3) * anchor(3) + anchor(4) * anchor(4));
  Tensor yaw = code(6) + anchor(6);
  if (outputs.dir_cls_preds.defined()) {
    const double period = 2 * M_PI / static_cast<double>(o.num_bins);
    const Tensor bin = PerAnchor(outputs.dir_cls_preds, anchors.size(0)).argmax(2);
    yaw = LimitPeriod(yaw - o.offset, o.limit_offset, period) + o.offset + period * bin.to(yaw.dtype());
  }
  return torch::stack(
      {code(0) * diagonal + anchor(0), code(1) * diagonal + anchor(1), code(2) * anchor(5) + anchor(2),
       torch::exp(code(3)) * anchor(3), torch::exp(code(4)) * anchor(4), torch::exp(code(5)) * anchor(5), yaw},
      2);
}

}  // namespace kd
