#include "models/detector.h"

#include <algorithm>
#include <utility>

#include "core/detector_config.h"
#include "models/bev_backbone.h"
#include "models/center_head.h"
#include "models/pillar_vfe.h"

namespace kd {
namespace {

template <size_t N, typename Repeated>
std::array<float, N> ToArray(const Repeated& values) {
  std::array<float, N> out{};
  std::copy_n(values.begin(), N, out.begin());
  return out;
}

template <typename T, typename Repeated>
std::vector<T> ToVector(const Repeated& values) {
  return std::vector<T>(values.begin(), values.end());
}

// Class ids of each head; one head with all classes when the configuration names no groups.
std::vector<std::vector<int64_t>> HeadClasses(const v1::Detector& detector) {
  std::vector<std::vector<int64_t>> heads;
  const auto& names = detector.class_names();
  for (const auto& group : detector.dense_head().class_names_each_head()) {
    std::vector<int64_t>& head = heads.emplace_back();
    for (const std::string& name : group.class_names()) {
      head.push_back(std::find(names.begin(), names.end(), name) - names.begin());
    }
  }
  if (heads.empty()) {
    heads.emplace_back(names.size());
    for (int i = 0; i < names.size(); ++i) heads[0][i] = i;
  }
  return heads;
}

VoxelGrid GridOf(const v1::Detector& detector, bool training) {
  return {.range = ToArray<6>(detector.point_cloud_range()),
          .voxel_size = ToArray<3>(detector.voxel_size()),
          .max_points_per_voxel = static_cast<int>(detector.max_points_per_voxel()),
          .max_voxels = static_cast<int>(training ? detector.max_voxels_train() : detector.max_voxels_test())};
}

PillarVfeOptions VfeOptions(const v1::Detector& detector) {
  return {.num_point_features = detector.num_point_features(),
          .num_filters = ToVector<int64_t>(detector.vfe().num_filters()),
          .with_distance = detector.vfe().with_distance(),
          .use_norm = detector.vfe().use_norm(),
          .bn_eps = detector.vfe().bn_eps(),
          .bn_momentum = detector.vfe().bn_momentum(),
          .voxel_size = ToArray<3>(detector.voxel_size()),
          .range = ToArray<6>(detector.point_cloud_range())};
}

BevBackboneOptions BackboneOptions(const v1::Detector& detector) {
  const v1::BevBackbone& b = detector.backbone_2d();
  const auto layer_nums = ToVector<int64_t>(b.layer_nums());
  return {.in_channels = static_cast<int64_t>(*detector.vfe().num_filters().rbegin()),
          .layer_nums = layer_nums,
          .layer_strides = ToVector<int64_t>(b.layer_strides()),
          .conv_filters = WidthPerConvolution(layer_nums, ToVector<int64_t>(b.num_filters())),
          .upsample_strides = ToVector<double>(b.upsample_strides()),
          .upsample_filters = ToVector<int64_t>(b.num_upsample_filters()),
          .bn_eps = b.bn_eps(),
          .bn_momentum = b.bn_momentum()};
}

CenterHeadOptions HeadOptions(const v1::Detector& detector) {
  const v1::CenterHead& head = detector.dense_head();
  int64_t in = 0;
  for (const uint32_t filters : detector.backbone_2d().num_upsample_filters()) in += filters;
  return {.in_channels = in,
          .shared_channels = head.shared_conv_channel(),
          .heads = HeadClasses(detector),
          .use_bias_before_norm = head.use_bias_before_norm(),
          .num_conv = head.num_conv(),
          .with_velocity = head.with_velocity(),
          .bn_eps = head.bn_eps(),
          .bn_momentum = head.bn_momentum()};
}

}  // namespace

struct CenterPointPillarImpl::Parts {
  PillarVfe vfe{nullptr};
  BevBackbone backbone{nullptr};
  CenterHeadModule head{nullptr};
  std::array<int, 3> cells{};
  std::vector<std::vector<int64_t>> head_classes;
};

CenterPointPillarImpl::CenterPointPillarImpl(const v1::Detector& detector)
    : config_(detector), parts_(std::make_unique<Parts>()) {
  parts_->vfe = register_module("vfe", PillarVfe(VfeOptions(detector)));
  parts_->backbone = register_module("backbone_2d", BevBackbone(BackboneOptions(detector)));
  parts_->head = register_module("dense_head", CenterHeadModule(HeadOptions(detector)));
  parts_->cells = GridCells(detector);
  parts_->head_classes = HeadClasses(detector);
}

CenterPointPillarImpl::~CenterPointPillarImpl() = default;

Predictions CenterPointPillarImpl::Forward(const Batch& batch) {
  const torch::Tensor pillars = parts_->vfe->forward(batch.voxels, batch.num_points, batch.coords);
  const torch::Tensor bev = ScatterPillars(pillars, batch.coords, batch.batch_size, parts_->cells[1], parts_->cells[0]);
  Predictions predictions;
  predictions.spatial_features_2d = parts_->backbone->forward(bev);
  predictions.heads = parts_->head->forward(predictions.spatial_features_2d);
  return predictions;
}

torch::Device CenterPointPillarImpl::device() const { return parameters().front().device(); }

std::vector<HeadTargets> AssignTargets(const v1::Detector& detector, const torch::Tensor& gt_boxes) {
  const v1::CenterHead& head = detector.dense_head();
  const int64_t stride = head.feature_map_stride();
  const std::array<int, 3> cells = GridCells(detector);
  return AssignCenterTargets(gt_boxes, {.heads = HeadClasses(detector),
                                        .voxel_size = ToArray<3>(detector.voxel_size()),
                                        .range = ToArray<6>(detector.point_cloud_range()),
                                        .stride = stride,
                                        .height = cells[1] / stride,
                                        .width = cells[0] / stride,
                                        .num_max_objs = head.num_max_objs(),
                                        .gaussian_overlap = head.gaussian_overlap(),
                                        .min_radius = head.min_radius(),
                                        .code_size = head.with_velocity() ? 10 : 8});
}

torch::Tensor RegressionMap(const v1::Detector& detector, const HeadOutputs& head) {
  return ConcatRegression(head, detector.dense_head().with_velocity());
}

CenterPointPillarImpl::Loss CenterPointPillarImpl::DetectionLoss(const Predictions& predictions,
                                                                 const std::vector<HeadTargets>& targets) const {
  const v1::CenterHead& config = config_.dense_head();
  Loss loss;
  torch::Tensor hm, loc;
  for (size_t h = 0; h < predictions.heads.size(); ++h) {
    const HeadOutputs& head = predictions.heads[h];
    loss.probabilities.push_back(ClampedSigmoid(head.at("hm")));
    const torch::Tensor hm_loss = HeatmapFocalLoss(loss.probabilities.back(), targets[h].heatmaps) * config.cls_weight();
    const torch::Tensor codes = GatherCells(ConcatRegression(head, config.with_velocity()), targets[h].inds);
    torch::Tensor per_code = RegressionL1(codes, targets[h].target_boxes, targets[h].masks);
    if (!config.code_weights().empty()) {
      per_code = per_code * torch::tensor(ToVector<float>(config.code_weights()), per_code.options());
    }
    const torch::Tensor loc_loss = per_code.sum() * config.loc_weight();
    hm = hm.defined() ? hm + hm_loss : hm_loss;
    loc = loc.defined() ? loc + loc_loss : loc_loss;
  }
  loss.total = hm + loc;
  loss.terms = {{"hm", hm}, {"loc", loc}};
  return loss;
}

std::vector<std::vector<Detection>> CenterPointPillarImpl::Decode(const Predictions& predictions, bool nms) const {
  const v1::PostProcessing& post = config_.post_processing();
  const CenterDecodeOptions options{
      .heads = parts_->head_classes,
      .voxel_size = ToArray<3>(config_.voxel_size()),
      .range = ToArray<6>(config_.point_cloud_range()),
      .stride = config_.dense_head().feature_map_stride(),
      .score_thresh = post.score_thresh(),
      .post_center_limit_range = ToVector<float>(post.post_center_limit_range()),
      .max_obj_per_sample = post.max_obj_per_sample(),
      .nms = {.iou_threshold = post.nms_thresh(), .pre_max = post.nms_pre_maxsize(), .post_max = post.nms_post_maxsize()},
      .nms_per_class = post.nms_per_class(),
      .with_velocity = config_.dense_head().with_velocity()};
  std::vector<std::vector<CenterBoxes>> heads;
  for (const HeadOutputs& head : predictions.heads) heads.push_back(DecodeCenterHead(head, options));
  std::vector<std::vector<Detection>> frames(heads.empty() ? 0 : heads[0].size());
  for (size_t b = 0; b < frames.size(); ++b) {
    std::vector<CenterBoxes> per_head;
    for (const auto& head : heads) per_head.push_back(head[b]);
    const CenterBoxes joined = JoinHeads(per_head, options, nms);
    const torch::Tensor boxes = joined.boxes.contiguous();
    for (int64_t i = 0; i < boxes.size(0); ++i) {
      const float* v = boxes.data_ptr<float>() + i * boxes.size(1);
      frames[b].push_back({.box = {v[0], v[1], v[2], v[3], v[4], v[5], v[6]},
                           .label = static_cast<int32_t>(joined.labels[i].item<int64_t>() - 1),
                           .score = joined.scores[i].item<float>()});
    }
  }
  return frames;
}

torch::Tensor BoxTensor(const std::vector<const Frame*>& views) {
  size_t most = 1;
  for (const Frame* view : views) most = std::max(most, view->boxes.size());
  torch::Tensor boxes = torch::zeros({static_cast<int64_t>(views.size()), static_cast<int64_t>(most), 8});
  for (size_t b = 0; b < views.size(); ++b) {
    float* row = boxes.data_ptr<float>() + b * most * 8;
    for (const LabeledBox& labeled : views[b]->boxes) {
      const Box3d& box = labeled.box;
      for (const float value : {box.x, box.y, box.z, box.dx, box.dy, box.dz, box.yaw, static_cast<float>(labeled.label + 1)}) *row++ = value;
    }
  }
  return boxes;
}

Batch ToDevice(const Batch& batch, const torch::Device& device) {
  return {.voxels = batch.voxels.to(device),
          .coords = batch.coords.to(device),
          .num_points = batch.num_points.to(device),
          .gt_boxes = batch.gt_boxes.to(device),
          .batch_size = batch.batch_size};
}

Batch MakeBatch(const std::vector<const Frame*>& views, const v1::Detector& detector, bool training) {
  const VoxelGrid grid = GridOf(detector, training);
  std::vector<Voxels> voxels;
  int64_t total = 0;
  for (const Frame* view : views) {
    voxels.push_back(Voxelize(view->points.data(), view->num_points(), view->num_features, grid));
    total += static_cast<int64_t>(voxels.back().size());
  }
  const int64_t features = views.empty() ? detector.num_point_features() : views[0]->num_features;
  Batch batch;
  batch.batch_size = static_cast<int64_t>(views.size());
  // An empty batch would leave batch norm without statistics: it keeps one pillar without points, in cell 0.
  const int64_t rows = std::max<int64_t>(total, 1);
  batch.voxels = torch::zeros({rows, grid.max_points_per_voxel, features});
  batch.coords = torch::zeros({rows, 4}, torch::kInt64);
  batch.num_points = torch::ones({rows}, torch::kInt64);
  batch.gt_boxes = BoxTensor(views);
  int64_t row = 0;
  for (int64_t b = 0; b < batch.batch_size; ++b) {
    const Voxels& v = voxels[b];
    std::copy(v.points.begin(), v.points.end(), batch.voxels.data_ptr<float>() + row * grid.max_points_per_voxel * features);
    int64_t* coords = batch.coords.data_ptr<int64_t>() + row * 4;
    for (size_t i = 0; i < v.size(); ++i, coords += 4) {
      coords[0] = b;
      std::copy_n(v.coords.begin() + i * 3, 3, coords + 1);
    }
    std::copy(v.num_points.begin(), v.num_points.end(), batch.num_points.data_ptr<int64_t>() + row);
    row += static_cast<int64_t>(v.size());
  }
  return batch;
}

}  // namespace kd
