// Heads and whole detectors from OpenPCDet's configuration.
#include "absl/strings/str_cat.h"
#include "client/kd_ops/module_case.h"
#include "client/kd_ops/operation.h"
#include "core/detector_config.h"
#include "core/pcdet_config.h"
#include "models/anchor_head.h"
#include "models/detector.h"

namespace kd {
namespace {

std::vector<AnchorClass> AnchorClasses(const nlohmann::json& anchors) {
  std::vector<AnchorClass> classes;
  for (const nlohmann::json& a : anchors) {
    classes.push_back({.sizes = a.at("anchor_sizes").get<std::vector<std::array<float, 3>>>(),
                       .rotations = a.at("anchor_rotations").get<std::vector<float>>(),
                       .bottom_height = a.at("anchor_bottom_heights").at(0).get<float>(),
                       .align_center = a.value("align_center", false),
                       .matched_threshold = a.at("matched_threshold").get<float>(),
                       .unmatched_threshold = a.at("unmatched_threshold").get<float>()});
  }
  return classes;
}

TensorMap AnchorHeadCase(const OperationCase& c) {
  const nlohmann::json& h = c.hyper;
  const AnchorGrid grid(AnchorClasses(h.at("anchors")), Floats<6>(h.at("point_cloud_range")),
                        h.at("height").get<int64_t>(), h.at("width").get<int64_t>());
  const auto classes = static_cast<int64_t>(h.at("class_names").size());
  const DirectionOptions direction{
      .offset = h.at("dir_offset"), .limit_offset = h.at("dir_limit_offset"), .num_bins = h.at("num_dir_bins")};
  AnchorHeadModule head(AnchorHeadOptions{.in_channels = h.at("in_channels").get<int64_t>(),
                                          .num_classes = classes,
                                          .anchors_per_cell = grid.per_cell(),
                                          .num_dir_bins = direction.num_bins,
                                          .with_iou = c.parameters.count("conv_iou.weight") > 0});
  LoadParameters(c, *head);
  torch::Tensor feature = c.in("feature").clone().requires_grad_();
  const AnchorOutputs outputs = head->forward(feature);
  const torch::Tensor anchors = torch::tensor(grid.boxes()).view({-1, 7});
  const AnchorBatchTargets targets =
      AssignAnchorTargets(grid, c.in("gt_boxes"), {.match_height = h.value("match_height", false)});
  const nlohmann::json& weights = h.at("weights");
  const auto terms = AnchorLoss(outputs, targets, anchors,
                                {.num_classes = classes,
                                 .cls_weight = weights.at("cls_weight"),
                                 .loc_weight = weights.at("loc_weight"),
                                 .dir_weight = weights.at("dir_weight"),
                                 .code_weights = weights.at("code_weights").get<std::vector<float>>(),
                                 .direction = direction});
  TensorMap results = {{"out.cls_preds", outputs.cls_preds},
                       {"out.box_preds", outputs.box_preds},
                       {"out.anchors", anchors},
                       {"out.box_cls_labels", targets.labels},
                       {"out.box_reg_targets", targets.codes},
                       {"out.decoded_boxes", DecodeAnchors(outputs, anchors, direction)},
                       {"out.decoded_cls", outputs.cls_preds.reshape({outputs.cls_preds.size(0), -1, classes})}};
  if (outputs.dir_cls_preds.defined()) results["out.dir_cls_preds"] = outputs.dir_cls_preds;
  if (outputs.iou_preds.defined()) results["out.iou_preds"] = outputs.iou_preds;
  torch::Tensor total = torch::zeros({});
  for (const auto& [name, term] : terms) {
    results["out." + name] = term;
    total = total + term;
  }
  results["out.loss"] = results["out.rpn_loss"] = total;
  auto inputs = ParametersOf(*head);
  inputs.emplace_back("feature", feature);
  AddGradients(total, inputs, results);
  return results;
}

PcdetData DataOf(const OperationCase& c) {
  const nlohmann::json& h = c.hyper;
  return {.class_names = h.at("class_names").get<std::vector<std::string>>(),
          .point_cloud_range = Floats<6>(h.at("point_cloud_range")),
          .voxel_size = Floats<3>(h.at("voxel_size")),
          .num_point_features = h.at("point_features").get<uint32_t>()};
}

TensorMap DetectorCase(const OperationCase& c) {
  const auto config = DetectorFromPcdetModel(c.hyper.at("model").dump(), DataOf(c));
  TORCH_CHECK(config.ok(), std::string(config.status().message()));
  const torch::Tensor& gt_boxes = c.in("gt_boxes");
  Batch batch{.gt_boxes = gt_boxes, .batch_size = gt_boxes.size(0)};
  if (HasDynamicPillars(*config)) {
    batch.points = c.in("points");
  } else {
    batch.voxels = c.in("voxels");
    batch.coords = c.in("coords");
    batch.num_points = c.in("num_points");
  }
  DetectorModel model(*config);
  LoadParameters(c, *model);
  const bool with_velocity = config->dense_head().with_velocity();
  TensorMap results;
  model->eval();
  {
    torch::NoGradGuard no_grad;
    const auto frames = model->Decode(model->Forward(batch));
    for (size_t b = 0; b < frames.size(); ++b) {
      std::vector<float> boxes, scores;
      std::vector<int64_t> labels;
      for (const Detection& d : frames[b]) {
        boxes.insert(boxes.end(), {d.box.x, d.box.y, d.box.z, d.box.dx, d.box.dy, d.box.dz, d.box.yaw});
        if (with_velocity) boxes.insert(boxes.end(), {d.vx, d.vy});
        scores.push_back(d.score);
        labels.push_back(d.label + 1);
      }
      const std::string at = absl::StrCat("out.pred.", b, ".");
      results[at + "pred_boxes"] = torch::tensor(boxes).view({-1, with_velocity ? 9 : 7});
      results[at + "pred_scores"] = torch::tensor(scores);
      results[at + "pred_labels"] = torch::tensor(labels);
    }
  }
  model->train();
  const auto loss = model->DetectionLoss(model->Forward(batch), model->Targets(gt_boxes));
  results["out.loss"] = results["out.loss_rpn"] = results["out.rpn_loss"] = loss.total;
  for (const auto& [name, term] : loss.terms) results["out.rpn_loss_" + name] = term;
  for (size_t h = 0; h < loss.heads.size(); ++h) {
    results[absl::StrCat("out.hm_loss_head_", h)] = loss.heads[h].hm;
    results[absl::StrCat("out.loc_loss_head_", h)] = loss.heads[h].loc;
  }
  AddGradients(loss.total, ParametersOf(*model), results);
  return results;
}

}  // namespace

void AddDetectorOperations(OperationTable& table) {
  table["model.anchor_head"] = AnchorHeadCase;
  table["model.detector"] = DetectorCase;
}

}  // namespace kd
