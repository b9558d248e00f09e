// Heads and whole detectors from OpenPCDet's configuration.
#include <algorithm>

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
        scores.push_back(d.score);
        labels.push_back(d.label + 1);
      }
      const std::string at = absl::StrCat("out.pred.", b, ".");
      results[at + "pred_boxes"] = torch::tensor(boxes).view({-1, 7});
      results[at + "pred_scores"] = torch::tensor(scores);
      results[at + "pred_labels"] = torch::tensor(labels);
    }
  }
  model->train();
  const auto loss = model->DetectionLoss(model->Forward(batch), model->Targets(gt_boxes));
  results["out.loss"] = results["out.loss_rpn"] = results["out.rpn_loss"] = loss.total;
  for (const auto& [name, term] : loss.terms) {
    results["out.rpn_loss_" + name] = term;
    results[absl::StrCat("out.", name, "_loss_head_0")] = term;
  }
  AddGradients(loss.total, ParametersOf(*model), results);
  return results;
}

struct Released {
  // Name of the configuration file without ".yaml", and where it stands.
  const char *file, *folder;
  const char* built_in;
  // Width factors of 3D backbone, BEV backbone and neck, and head (kd-methods.md section 2.1).
  float pfn = 1, bev = 1, head = 1;
  bool with_iou = false;
};

constexpr Released kReleased[] = {{"second", "kitti_models", "second_kitti"},
                                  {"pointpillar", "kitti_models", "pointpillar_kitti"},
                                  {"pv_rcnn", "kitti_models", "pv_rcnn_kitti"},
                                  {"voxel_rcnn", "kitti_models", "voxel_rcnn_kitti"},
                                  {"voxel_rcnn_car", "kitti_models", "voxel_rcnn_kitti", 1, 0.5f},
                                  {"second", "waymo_models", "second"},
                                  {"pointpillar_1x", "waymo_models", "pointpillar"},
                                  {"centerpoint", "waymo_models", "centerpoint_voxel"},
                                  {"cp-voxel", "waymo_models", "centerpoint_voxel"},
                                  {"cp-voxel-s_sparsekd", "waymo_models", "centerpoint_voxel", 1, 0.5f, 0.5f},
                                  {"cp-voxel-xs_sparsekd", "waymo_models", "centerpoint_voxel", 0.75f, 0.5f, 0.5f},
                                  {"cp-voxel-xxs_sparsekd", "waymo_models", "centerpoint_voxel", 0.5f, 0.25f, 0.25f},
                                  {"cp-pillar", "waymo_models", "centerpoint_pillar"},
                                  {"centerpoint_pillar_1x", "waymo_models", "centerpoint_pillar"},
                                  {"centerpoint_dyn_pillar_1x", "waymo_models", "centerpoint_pillar"},
                                  {"cp-pillar-v0.4_sparsekd", "waymo_models", "centerpoint_pillar"},
                                  {"cp-pillar-v0.48_sparsekd", "waymo_models", "centerpoint_pillar"},
                                  {"cp-pillar-v0.64_sparsekd", "waymo_models", "centerpoint_pillar"},
                                  {"cbgs_voxel0075_res3d_centerpoint", "nuscenes_models", "centerpoint_voxel_nuscenes"},
                                  {"cbgs_voxel01_res3d_centerpoint", "nuscenes_models", "centerpoint_voxel_nuscenes"},
                                  {"cbgs_dyn_pp_centerpoint", "nuscenes_models", "centerpoint_pillar_nuscenes"},
                                  {"second-pv-x1.0", "kitti_cakdp", "second_kitti", 1, 1, 1, /*with_iou=*/true},
                                  {"cp-pv-x1.0", "kitti_cakdp", "centerpoint_voxel_kitti", 1, 1, 1, /*with_iou=*/true}};

// Leaves out classes that a configuration of fewer than the built-in detector does not name.
void KeepClasses(const std::vector<std::string>& kept, v1::Detector& detector) {
  const auto leaves = [&](const std::string& name) { return std::find(kept.begin(), kept.end(), name) == kept.end(); };
  auto& names = *detector.mutable_class_names();
  names.erase(std::remove_if(names.begin(), names.end(), leaves), names.end());
  if (!detector.has_anchor_head()) return;
  auto& anchors = *detector.mutable_anchor_head()->mutable_anchors();
  anchors.erase(std::remove_if(anchors.begin(), anchors.end(), [&](const auto& a) { return leaves(a.class_name()); }),
                anchors.end());
}

// The detector of a released configuration, on the grid that the case names.
v1::Detector ReleasedDetector(const std::string& where, const PcdetData& data) {
  const auto ends_with = [](const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
  };
  const size_t colon = where.rfind(':');
  const std::string file = where.substr(0, colon), section = colon == std::string::npos ? "" : where.substr(colon + 1);
  for (const Released& released : kReleased) {
    if (!ends_with(file, absl::StrCat("/", released.file, ".yaml")) || file.find(released.folder) == std::string::npos)
      continue;
    v1::Detector base = *BuiltInDetector(released.built_in);
    std::copy(data.point_cloud_range.begin(), data.point_cloud_range.end(), base.mutable_point_cloud_range()->begin());
    std::copy(data.voxel_size.begin(), data.voxel_size.end(), base.mutable_voxel_size()->begin());
    KeepClasses(data.class_names, base);
    // Teachers are as wide as the built-in detector.
    if (section != "MODEL") return released.with_iou ? *BuiltInDetector("pv_rcnn_kitti") : base;
    v1::VoxelBackbone* voxels = base.has_backbone_3d() ? base.mutable_backbone_3d() : nullptr;
    const auto widen = [](auto* widths, float factor) {
      for (auto& width : *widths) width = static_cast<uint32_t>(static_cast<float>(width) * factor);
    };
    if (voxels != nullptr) widen(voxels->mutable_num_filters(), released.pfn);
    widen(base.mutable_backbone_2d()->mutable_num_filters(), released.bev);
    widen(base.mutable_backbone_2d()->mutable_num_upsample_filters(), released.bev);
    if (base.has_anchor_head()) {
      base.mutable_anchor_head()->set_with_iou(released.with_iou);
    } else {
      v1::CenterHead* head = base.mutable_dense_head();
      head->set_shared_conv_channel(
          static_cast<uint32_t>(static_cast<float>(head->shared_conv_channel()) * released.head));
      head->set_with_iou(released.with_iou);
    }
    return base;
  }
  TORCH_CHECK(false, "the configuration ", where, " is not known here");
}

// Names, types and shapes of a whole state dictionary, in order. OpenPCDet's step counter is no part of the network.
TensorMap ManifestCase(const OperationCase& c) {
  DetectorModel model(ReleasedDetector(c.document.at("source").at("where").get<std::string>(), DataOf(c)));
  const auto state = StateOf(*model);
  size_t at = 0;
  for (const nlohmann::json& want : c.document.at("state")) {
    const auto name = want.at(0).get<std::string>();
    if (name == "global_step") continue;
    TORCH_CHECK(at < state.size(), name, " is missing");
    const auto& [own_name, tensor] = state[at++];
    TORCH_CHECK(own_name == name, "entry ", at, " is ", own_name, ", expected ", name);
    TORCH_CHECK(tensor.sizes() == want.at(2).get<std::vector<int64_t>>(), name, " has shape ", tensor.sizes(),
                ", expected ", want.at(2).dump());
    const char* const type = at::isFloatingType(tensor.scalar_type()) ? "float32" : "int64";
    TORCH_CHECK(want.at(1).get<std::string>() == type, name, " has type ", type, ", expected ", want.at(1).dump());
  }
  TORCH_CHECK(at == state.size(), state[at].first, " is not expected");
  int64_t trainable = 0;
  for (const torch::Tensor& parameter : model->parameters()) trainable += parameter.numel();
  const auto want = c.document.at("trainable_parameters").get<int64_t>();
  TORCH_CHECK(trainable == want, "the detector has ", trainable, " parameters, expected ", want);
  return {};
}

}  // namespace

void AddDetectorOperations(OperationTable& table) {
  table["manifest"] = ManifestCase;
  table["model.anchor_head"] = AnchorHeadCase;
  table["model.detector"] = DetectorCase;
}

}  // namespace kd
