#include "absl/strings/str_cat.h"
#include "client/kd_ops/module_case.h"
#include "client/kd_ops/operation.h"
#include "models/adam_onecycle.h"
#include "models/bev_backbone.h"
#include "models/center_head.h"
#include "models/mean_vfe.h"
#include "models/pillar_vfe.h"

namespace kd {
namespace {

TensorMap MeanVfe(const OperationCase& c) {
  const torch::Tensor mean = MeanVoxelFeatures(c.in("voxels"), c.in("num_points"));
  return {{"out.voxel_features", mean}, {"out.features", mean}};
}

PillarVfeOptions VfeOptions(const OperationCase& c, int64_t point_features) {
  const nlohmann::json& h = c.hyper;
  return {.num_point_features = point_features,
          .num_filters = h.at("num_filters").get<std::vector<int64_t>>(),
          .with_distance = h.value("with_distance", false),
          .use_absolute_xyz = h.value("use_absolute_xyz", true),
          .use_norm = h.value("use_norm", true),
          .voxel_size = Floats<3>(h.at("voxel_size")),
          .range = Floats<6>(h.at("point_cloud_range"))};
}

TensorMap PillarVfeCase(const OperationCase& c) {
  const torch::Tensor& voxels = c.in("voxels");
  PillarVfe vfe(VfeOptions(c, voxels.size(2)));
  LoadParameters(c, *vfe);
  vfe->train(c.hyper.value("training", false));
  TensorMap results;
  const torch::Tensor features = vfe->forward(voxels, c.in("num_points"), c.in("coords"));
  results["out.pillar_features"] = features;
  const auto grid = c.hyper.at("grid_size").get<std::vector<int64_t>>();
  const int64_t batch = c.in("coords").select(1, 0).max().item<int64_t>() + 1;
  const torch::Tensor bev = ScatterPillars(features, c.in("coords"), batch, grid[1], grid[0]);
  results["out.bev"] = bev;
  AddRunning(*vfe, results);
  AddGradients(torch::pow(bev, 2).mean(), ParametersOf(*vfe), results);
  return results;
}

TensorMap DynamicPillarVfeCase(const OperationCase& c) {
  const torch::Tensor& points = c.in("points");
  PillarVfe vfe(VfeOptions(c, points.size(1) - 1));
  LoadParameters(c, *vfe);
  vfe->train(c.hyper.value("training", false));
  const auto grid = c.hyper.at("grid_size").get<std::vector<int64_t>>();
  const auto pillars = vfe->ForwardDynamic(points, {grid[0], grid[1]});
  TensorMap results = {{"out.pillar_features", pillars.features}, {"out.coords", pillars.coords}};
  AddRunning(*vfe, results);
  return results;
}

TensorMap DynamicMeanVfeCase(const OperationCase& c) {
  const auto grid = c.hyper.at("grid_size").get<std::vector<int64_t>>();
  const auto voxels =
      MeanPointsPerVoxel(c.in("points"), {grid[0], grid[1], grid[2]}, Floats<3>(c.hyper.at("voxel_size")),
                         Floats<6>(c.hyper.at("point_cloud_range")));
  return {{"out.features", voxels.features}, {"out.voxel_features", voxels.features}, {"out.coords", voxels.coords}};
}

TensorMap RunBackbone(const OperationCase& c, const BevBackboneOptions& options) {
  BevBackbone backbone(options);
  LoadParameters(c, *backbone);
  backbone->train(c.hyper.value("training", false));
  torch::Tensor feature = c.in("feature").clone().requires_grad_();
  TensorMap results;
  results["out.feature"] = backbone->forward(feature);
  AddRunning(*backbone, results);
  auto inputs = ParametersOf(*backbone);
  inputs.emplace_back("feature", feature);
  AddGradients(torch::pow(results["out.feature"], 2).mean(), inputs, results);
  return results;
}

BevBackboneOptions CommonBackboneOptions(const OperationCase& c) {
  return {.in_channels = c.hyper.at("in_channels").get<int64_t>(),
          .layer_nums = c.hyper.at("layer_nums").get<std::vector<int64_t>>(),
          .layer_strides = c.hyper.at("layer_strides").get<std::vector<int64_t>>(),
          .upsample_strides = c.hyper.at("upsample_strides").get<std::vector<double>>()};
}

TensorMap BackboneCase(const OperationCase& c) {
  BevBackboneOptions options = CommonBackboneOptions(c);
  options.conv_filters = WidthPerConvolution(options.layer_nums, c.hyper.at("num_filters").get<std::vector<int64_t>>());
  options.upsample_filters = c.hyper.at("num_upsample_filters").get<std::vector<int64_t>>();
  return RunBackbone(c, options);
}

TensorMap FlexibleBackboneCase(const OperationCase& c) {
  BevBackboneOptions options = CommonBackboneOptions(c);
  const auto filters = c.hyper.at("num_filters").get<std::vector<int64_t>>();
  const size_t levels = options.layer_nums.size();
  TORCH_CHECK(filters.size() > levels, "num_filters needs one entry per convolution and per level");
  options.conv_filters.assign(filters.begin(), filters.end() - static_cast<long>(levels));
  options.upsample_filters.assign(filters.end() - static_cast<long>(levels), filters.end());
  return RunBackbone(c, options);
}

std::vector<std::vector<int64_t>> HeadClasses(const nlohmann::json& hyper) {
  const auto names = hyper.at("class_names").get<std::vector<std::string>>();
  std::vector<std::vector<int64_t>> heads;
  for (const auto& group : hyper.at("heads")) {
    std::vector<int64_t>& head = heads.emplace_back();
    for (const auto& name : group) {
      head.push_back(std::find(names.begin(), names.end(), name.get<std::string>()) - names.begin());
    }
  }
  return heads;
}

TensorMap CenterHeadCase(const OperationCase& c) {
  const nlohmann::json& h = c.hyper;
  const auto order = h.at("head_order").get<std::vector<std::string>>();
  const bool velocity = std::find(order.begin(), order.end(), "vel") != order.end();
  const auto heads = HeadClasses(h);
  CenterHeadModule module(CenterHeadOptions{.in_channels = h.at("in_channels").get<int64_t>(),
                                            .shared_channels = h.at("shared_channels").get<int64_t>(),
                                            .heads = heads,
                                            .use_bias_before_norm = h.at("use_bias_before_norm").get<bool>(),
                                            .num_conv = h.value("num_conv", 2),
                                            .with_velocity = velocity});
  LoadParameters(c, *module);
  module->eval();
  torch::Tensor feature = c.in("feature").clone().requires_grad_();
  const std::vector<HeadOutputs> raw = module->forward(feature);
  const auto targets = AssignCenterTargets(c.in("gt_boxes"), {.heads = heads,
                                                              .voxel_size = Floats<3>(h.at("voxel_size")),
                                                              .range = Floats<6>(h.at("point_cloud_range")),
                                                              .stride = h.at("stride").get<int64_t>(),
                                                              .height = h.at("height").get<int64_t>(),
                                                              .width = h.at("width").get<int64_t>(),
                                                              .num_max_objs = h.at("num_max_objs").get<int64_t>(),
                                                              .gaussian_overlap = h.at("gaussian_overlap").get<float>(),
                                                              .min_radius = h.at("min_radius").get<int64_t>(),
                                                              .code_size = velocity ? 10 : 8});
  const CenterDecodeOptions decode{.heads = heads,
                                   .voxel_size = Floats<3>(h.at("voxel_size")),
                                   .range = Floats<6>(h.at("point_cloud_range")),
                                   .stride = h.at("stride").get<int64_t>(),
                                   .score_thresh = h.at("score_thresh").get<float>(),
                                   .post_center_limit_range = h.at("post_center_limit_range").get<std::vector<float>>(),
                                   .max_obj_per_sample = h.at("max_obj_per_sample").get<int64_t>(),
                                   .nms = {.iou_threshold = h.at("nms").at("thresh").get<double>(),
                                           .pre_max = h.at("nms").at("pre_maxsize").get<int64_t>(),
                                           .post_max = h.at("nms").at("post_maxsize").get<int64_t>()},
                                   .with_velocity = velocity};
  const nlohmann::json& weights = h.at("weights");
  TensorMap results;
  torch::Tensor total = torch::zeros({});
  std::vector<std::vector<CenterBoxes>> decoded;
  for (size_t i = 0; i < heads.size(); ++i) {
    for (const auto& [name, map] : raw[i]) results[absl::StrCat("out.raw.", i, ".", name)] = map;
    const std::string prefix = absl::StrCat("out.target.", i, ".");
    results[prefix + "heatmaps"] = targets[i].heatmaps;
    results[prefix + "target_boxes"] = targets[i].target_boxes;
    results[prefix + "inds"] = targets[i].inds;
    results[prefix + "masks"] = targets[i].masks;
    const torch::Tensor hm =
        HeatmapFocalLoss(ClampedSigmoid(raw[i].at("hm")), targets[i].heatmaps) * weights.at("cls_weight").get<double>();
    const torch::Tensor codes = GatherCells(ConcatRegression(raw[i], velocity), targets[i].inds);
    const torch::Tensor loc = (RegressionL1(codes, targets[i].target_boxes, targets[i].masks) *
                               torch::tensor(weights.at("code_weights").get<std::vector<float>>()))
                                  .sum() *
                              weights.at("loc_weight").get<double>();
    results[absl::StrCat("out.hm_loss_head_", i)] = hm;
    results[absl::StrCat("out.loc_loss_head_", i)] = loc;
    total = total + hm + loc;
    decoded.push_back(DecodeCenterHead(raw[i], decode));
    for (size_t b = 0; b < decoded.back().size(); ++b) {
      const std::string at = absl::StrCat("out.decoded.", i, ".", b, ".");
      results[at + "pred_boxes"] = decoded[i][b].boxes;
      results[at + "pred_scores"] = decoded[i][b].scores;
      results[at + "pred_labels"] = decoded[i][b].labels;
    }
  }
  results["out.loss"] = results["out.rpn_loss"] = total;
  for (size_t b = 0; !decoded.empty() && b < decoded[0].size(); ++b) {
    std::vector<CenterBoxes> frame;
    for (const auto& head : decoded) frame.push_back(head[b]);
    const CenterBoxes joined = JoinHeads(frame, decode, /*nms=*/true);
    const std::string at = absl::StrCat("out.final.", b, ".");
    results[at + "pred_boxes"] = joined.boxes;
    results[at + "pred_scores"] = joined.scores;
    results[at + "pred_labels"] = joined.labels;
  }
  auto inputs = ParametersOf(*module);
  inputs.emplace_back("feature", feature);
  AddGradients(total, inputs, results);
  return results;
}

// Convolution, batch norm, rectifier, 1x1 convolution, trained on squared error.
TensorMap AdamOneCycleCase(const OperationCase& c) {
  namespace nn = torch::nn;
  const nlohmann::json& h = c.hyper;
  const auto& first = c.parameters.at("0.weight");
  const auto& last = c.parameters.at("3.weight");
  nn::Sequential net(
      nn::Conv2d(nn::Conv2dOptions(first.size(1), first.size(0), first.size(2)).padding(first.size(2) / 2)),
      nn::BatchNorm2d(first.size(0)), nn::ReLU(),
      nn::Conv2d(nn::Conv2dOptions(last.size(1), last.size(0), last.size(2))));
  LoadParameters(c, *net);
  net->train();
  const int64_t steps = h.at("epochs").get<int64_t>() * h.at("iterations_per_epoch").get<int64_t>();
  const AdamOneCycleOptions options{.total_steps = steps,
                                    .lr = h.at("lr"),
                                    .weight_decay = h.at("weight_decay"),
                                    .div_factor = h.at("div_factor"),
                                    .pct_start = h.at("pct_start"),
                                    .high_momentum = h.at("moms").at(0),
                                    .low_momentum = h.at("moms").at(1),
                                    .beta2 = h.at("betas").at(1)};
  std::vector<std::pair<std::string, torch::Tensor>> parameters;
  for (const auto& item : net->named_parameters()) parameters.emplace_back(item.key(), item.value());
  AdamOneCycle optimizer(parameters, options);
  std::vector<float> lr, momentum, losses, norms;
  TensorMap results;
  for (int64_t step = 0; step < c.in("x").size(0); ++step) {
    const OneCyclePoint point = OneCycleAt(options, step);
    lr.push_back(static_cast<float>(point.lr));
    momentum.push_back(static_cast<float>(point.momentum));
    optimizer.ZeroGrad();
    const torch::Tensor loss = torch::pow(net->forward(c.in("x")[step]) - c.in("y")[step], 2).mean();
    loss.backward();
    losses.push_back(loss.item<float>());
    norms.push_back(static_cast<float>(optimizer.ClipGradients(h.at("grad_norm_clip"))));
    optimizer.Step();
    for (const auto& [name, parameter] : parameters) {
      const std::string key = absl::StrCat("out.after_", step + 1, ".", name);
      // An undefined tensor is not compared: this bias feeds a batch norm, its gradient is rounding noise, which no two
      // implementations share.
      if (c.wants(key)) results[key] = name == "0.bias" ? torch::Tensor() : parameter.detach().clone();
    }
  }
  results["out.lr"] = torch::tensor(lr);
  results["out.momentum"] = torch::tensor(momentum);
  results["out.loss"] = torch::tensor(losses);
  results["out.grad_norm"] = torch::tensor(norms);
  return results;
}

}  // namespace

void AddModelOperations(OperationTable& table) {
  table["model.mean_vfe"] = MeanVfe;
  table["model.pillar_vfe"] = PillarVfeCase;
  table["model.dynamic_pillar_vfe"] = DynamicPillarVfeCase;
  table["model.dynamic_mean_vfe"] = DynamicMeanVfeCase;
  table["model.bev_backbone"] = BackboneCase;
  table["model.bev_backbone_flexible"] = FlexibleBackboneCase;
  table["model.center_head"] = CenterHeadCase;
  table["optim.adam_onecycle"] = AdamOneCycleCase;
}

}  // namespace kd
