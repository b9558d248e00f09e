#include "models/detector.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/detector_config.h"
#include "models/all_cores.h"
#include "models/bev_backbone.h"
#include "models/box_suppression.h"
#include "models/center_head.h"
#include "models/mean_vfe.h"
#include "models/pillar_vfe.h"
#include "models/voxel_backbone.h"

namespace kd {
namespace {

template <size_t N, typename T = float, typename Repeated>
std::array<T, N> ToArray(const Repeated& values) {
  std::array<T, N> out{};
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
          .use_absolute_xyz = HasAbsoluteXyz(detector.vfe()),
          .use_norm = detector.vfe().use_norm(),
          .bn_eps = detector.vfe().bn_eps(),
          .bn_momentum = detector.vfe().bn_momentum(),
          .voxel_size = ToArray<3>(detector.voxel_size()),
          .range = ToArray<6>(detector.point_cloud_range())};
}

BevBackboneOptions BackboneOptions(const v1::Detector& detector, int64_t in_channels) {
  const v1::BevBackbone& b = detector.backbone_2d();
  const auto layer_nums = ToVector<int64_t>(b.layer_nums());
  return {.in_channels = in_channels,
          .layer_nums = layer_nums,
          .layer_strides = ToVector<int64_t>(b.layer_strides()),
          .conv_filters = WidthPerConvolution(layer_nums, ToVector<int64_t>(b.num_filters())),
          .upsample_strides = ToVector<double>(b.upsample_strides()),
          .upsample_filters = ToVector<int64_t>(b.num_upsample_filters()),
          .bn_eps = b.bn_eps(),
          .bn_momentum = b.bn_momentum()};
}

int64_t MapChannels(const v1::Detector& detector) {
  const auto& filters = detector.backbone_2d().num_upsample_filters();
  return std::accumulate(filters.begin(), filters.end(), int64_t{0});
}

VoxelBackboneOptions VoxelOptions(const v1::Detector& detector) {
  const v1::VoxelBackbone& b = detector.backbone_3d();
  VoxelBackboneOptions options{.in_channels = detector.num_point_features(),
                               .residual = b.residual(),
                               .layer_nums = ToArray<6, int64_t>(b.layer_nums()),
                               .widths = ToVector<int64_t>(b.num_filters()),
                               .bn_eps = b.bn_eps(),
                               .bn_momentum = b.bn_momentum()};
  if (b.num_filters_size() == 6)
    options.widths = WidthPerSubModule(options.layer_nums, ToArray<6, int64_t>(b.num_filters()));
  return options;
}

// Channels of the height-compressed map: all cells along z that the 3D backbone leaves.
int64_t CompressedChannels(const v1::Detector& detector) {
  int32_t depth = GridCells(detector)[2] + 1;
  for (const int32_t padding : {1, 1, 0}) depth = (depth + 2 * padding - 3) / 2 + 1;
  depth = (depth - 3) / 2 + 1;
  return depth * static_cast<int64_t>(*detector.backbone_3d().num_filters().rbegin());
}

AnchorGrid GridOfAnchors(const v1::Detector& detector) {
  const v1::AnchorHead& head = detector.anchor_head();
  std::vector<AnchorClass> classes;
  for (const v1::AnchorHead::Anchors& a : head.anchors()) {
    AnchorClass& c = classes.emplace_back();
    for (int i = 0; i + 2 < a.sizes_size(); i += 3) c.sizes.push_back({a.sizes(i), a.sizes(i + 1), a.sizes(i + 2)});
    c.rotations = ToVector<float>(a.rotations());
    c.bottom_height = a.bottom_height();
    c.align_center = a.align_center();
    c.matched_threshold = a.matched_threshold();
    c.unmatched_threshold = a.unmatched_threshold();
  }
  const std::array<int, 3> cells = GridCells(detector);
  const int64_t stride = head.feature_map_stride();
  return AnchorGrid(std::move(classes), ToArray<6>(detector.point_cloud_range()), cells[1] / stride, cells[0] / stride);
}

DirectionOptions DirectionsOf(const v1::AnchorHead& head) {
  return {.offset = head.dir_offset(), .limit_offset = head.dir_limit_offset(), .num_bins = head.num_dir_bins()};
}

CenterHeadOptions HeadOptions(const v1::Detector& detector) {
  const v1::CenterHead& head = detector.dense_head();
  return {.in_channels = MapChannels(detector),
          .shared_channels = head.shared_conv_channel(),
          .heads = HeadClasses(detector),
          .use_bias_before_norm = head.use_bias_before_norm(),
          .num_conv = head.num_conv(),
          .with_velocity = head.with_velocity(),
          .with_iou = head.with_iou(),
          .bn_eps = head.bn_eps(),
          .bn_momentum = head.bn_momentum()};
}

}  // namespace

namespace {

KeypointSources SourcesOf(const v1::RoiHead& head) {
  KeypointSources sources;
  if (head.features_source().empty()) return sources;
  sources = {.bev = false, .raw_points = false, .x_conv = {}};
  for (const std::string& source : head.features_source()) {
    if (source == "bev") {
      sources.bev = true;
    } else if (source == "raw_points") {
      sources.raw_points = true;
    } else {
      sources.x_conv.push_back(source.back() - '1');
    }
  }
  return sources;
}

// Null for detectors of one stage.
std::unique_ptr<SecondStage> NewSecondStage(const v1::Detector& detector, int64_t bev_channels) {
  if (!detector.has_roi_head()) return nullptr;
  const VoxelBackboneOptions backbone = VoxelOptions(detector);
  TwoStageOptions options{.num_point_features = detector.num_point_features(),
                          .range = ToArray<6>(detector.point_cloud_range()),
                          .voxel_size = ToArray<3>(detector.voxel_size()),
                          .num_keypoints = detector.roi_head().num_keypoints(),
                          .keypoint_sources = SourcesOf(detector.roi_head()),
                          .bev_channels = bev_channels,
                          .pool_size = static_cast<int32_t>(detector.roi_head().pool_size()),
                          .voxel_norm = {.eps = backbone.bn_eps, .momentum = backbone.bn_momentum}};
  // A map has the width of its stage's last sub-module.
  int64_t sub_module = backbone.layer_nums[0] - 1;
  for (size_t i = 0; i < options.map_channels.size(); ++i) {
    sub_module += backbone.layer_nums[i + 1];
    options.map_channels[i] = backbone.widths[sub_module];
  }
  if (detector.model() == "part_a2") return NewPartA2Stage(options);
  return detector.model() == "pv_rcnn" ? NewPvRcnnStage(options) : NewVoxelRcnnStage(options);
}

}  // namespace

struct DetectorModelImpl::Parts {
  // One of the two.
  PillarVfe vfe{nullptr};
  VoxelBackbone backbone_3d{nullptr};
  BevBackbone backbone_2d{nullptr};
  // One of the two.
  CenterHeadModule center{nullptr};
  AnchorHeadModule anchor{nullptr};
  std::unique_ptr<AnchorGrid> anchors;
  std::unique_ptr<SecondStage> second;
  torch::Tensor anchor_boxes;  // N x 7, on the CPU
  std::array<int, 3> cells{};
  std::vector<std::vector<int64_t>> head_classes;
};

DetectorModelImpl::DetectorModelImpl(const v1::Detector& detector)
    : config_(detector), parts_(std::make_unique<Parts>()) {
  Parts& p = *parts_;
  p.cells = GridCells(detector);
  int64_t map_channels;
  if (detector.has_backbone_3d()) {
    p.backbone_3d = register_module("backbone_3d", VoxelBackbone(VoxelOptions(detector)));
    map_channels = CompressedChannels(detector);
    p.second = NewSecondStage(detector, map_channels);
    if (p.second) p.second->RegisterPointFeatures(*this);
  } else {
    p.vfe = register_module("vfe", PillarVfe(VfeOptions(detector)));
    map_channels = *detector.vfe().num_filters().rbegin();
  }
  p.backbone_2d = register_module("backbone_2d", BevBackbone(BackboneOptions(detector, map_channels)));
  if (detector.has_anchor_head()) {
    const v1::AnchorHead& head = detector.anchor_head();
    p.anchors = std::make_unique<AnchorGrid>(GridOfAnchors(detector));
    p.anchor_boxes = torch::tensor(p.anchors->boxes()).view({-1, 7});
    p.anchor = register_module(
        "dense_head",
        AnchorHeadModule(AnchorHeadOptions{.in_channels = MapChannels(detector),
                                           .num_classes = detector.class_names_size(),
                                           .anchors_per_cell = p.anchors->per_cell(),
                                           .num_dir_bins = head.use_direction_classifier() ? head.num_dir_bins() : 0,
                                           .with_iou = head.with_iou()}));
  } else {
    p.center = register_module("dense_head", CenterHeadModule(HeadOptions(detector)));
    p.head_classes = HeadClasses(detector);
  }
  if (p.second) p.second->RegisterHeads(*this);
}

DetectorModelImpl::~DetectorModelImpl() = default;

Predictions DetectorModelImpl::Forward(const Batch& batch) {
  Parts& p = *parts_;
  torch::Tensor bev;
  FirstStage first{.coords = batch.coords, .points = batch.points, .batch_size = batch.batch_size};
  if (p.backbone_3d) {
    const torch::Tensor features = MeanVoxelFeatures(batch.voxels, batch.num_points);
    const SparseTensor voxels =
        MakeSparseTensor(features, batch.coords, batch.batch_size, {p.cells[2] + 1, p.cells[1], p.cells[0]});
    first.maps = p.backbone_3d->forward(voxels);
    bev = CompressHeight(first.maps.encoded);
  } else if (HasDynamicPillars(config_)) {
    const PillarVfeImpl::Pillars pillars = p.vfe->ForwardDynamic(batch.points, {p.cells[0], p.cells[1]});
    bev = ScatterPillars(pillars.features, pillars.coords, batch.batch_size, p.cells[1], p.cells[0]);
  } else {
    const torch::Tensor pillars = p.vfe->forward(batch.voxels, batch.num_points, batch.coords);
    bev = ScatterPillars(pillars, batch.coords, batch.batch_size, p.cells[1], p.cells[0]);
  }
  Predictions predictions;
  predictions.spatial_features_2d = p.backbone_2d->forward(bev);
  if (p.anchor) {
    predictions.anchors = p.anchor->forward(predictions.spatial_features_2d);
    if (p.second) {
      TORCH_CHECK(!is_training(), "a detector with two stages is not trained here");
      first.bev = bev;
      const v1::RoiHead& head = config_.roi_head();
      const torch::Tensor boxes =
          DecodeAnchors(predictions.anchors, p.anchor_boxes.to(device()), DirectionsOf(config_.anchor_head()));
      predictions.proposals = ProposeBoxes(
          boxes, predictions.anchors.cls_preds.reshape({boxes.size(0), boxes.size(1), -1}),
          {.iou_threshold = head.nms_thresh(), .pre_max = head.nms_pre_maxsize(), .post_max = head.nms_post_maxsize()});
      predictions.refinement = p.second->Refine(*p.second->Prepare(first), predictions.proposals.boxes);
    }
  } else {
    predictions.heads = p.center->forward(predictions.spatial_features_2d);
  }
  return predictions;
}

DetectionTargets DetectorModelImpl::Targets(const torch::Tensor& gt_boxes) const {
  if (!parts_->anchor) return {.heads = AssignTargets(config_, gt_boxes)};
  // Anchors have no velocity.
  const torch::Tensor boxes = torch::cat({gt_boxes.slice(2, 0, 7), gt_boxes.slice(2, -1)}, 2).cpu();
  AnchorBatchTargets targets =
      AssignAnchorTargets(*parts_->anchors, boxes, {.match_height = config_.anchor_head().match_height()});
  return {.anchors = {.labels = targets.labels.to(device()), .codes = targets.codes.to(device())}};
}

torch::Device DetectorModelImpl::device() const { return parameters().front().device(); }

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

namespace {

DetectorModelImpl::Loss LossOfAnchors(const v1::Detector& detector, const AnchorOutputs& outputs,
                                      const AnchorBatchTargets& targets, const torch::Tensor& anchors) {
  const v1::AnchorHead& head = detector.anchor_head();
  const auto terms = AnchorLoss(outputs, targets, anchors,
                                {.num_classes = detector.class_names_size(),
                                 .cls_weight = head.cls_weight(),
                                 .loc_weight = head.loc_weight(),
                                 .dir_weight = head.dir_weight(),
                                 .code_weights = ToVector<float>(head.code_weights()),
                                 .direction = DirectionsOf(head)});
  constexpr absl::string_view kPrefix = "rpn_loss_";
  DetectorModelImpl::Loss loss;
  for (const auto& [name, term] : terms) {
    loss.terms[name.substr(kPrefix.size())] = term;
    loss.total = loss.total.defined() ? loss.total + term : term;
  }
  return loss;
}

}  // namespace

DetectorModelImpl::Loss DetectorModelImpl::DetectionLoss(const Predictions& predictions,
                                                         const DetectionTargets& all_targets) const {
  if (parts_->anchor) {
    return LossOfAnchors(config_, predictions.anchors, all_targets.anchors, parts_->anchor_boxes.to(device()));
  }
  const std::vector<HeadTargets>& targets = all_targets.heads;
  const v1::CenterHead& config = config_.dense_head();
  Loss loss;
  torch::Tensor hm, loc;
  for (size_t h = 0; h < predictions.heads.size(); ++h) {
    const HeadOutputs& head = predictions.heads[h];
    loss.probabilities.push_back(ClampedSigmoid(head.at("hm")));
    const torch::Tensor hm_loss =
        HeatmapFocalLoss(loss.probabilities.back(), targets[h].heatmaps) * config.cls_weight();
    const torch::Tensor codes = GatherCells(ConcatRegression(head, config.with_velocity()), targets[h].inds);
    torch::Tensor per_code = RegressionL1(codes, targets[h].target_boxes, targets[h].masks);
    if (!config.code_weights().empty()) {
      per_code = per_code * torch::tensor(ToVector<float>(config.code_weights()), per_code.options());
    }
    const torch::Tensor loc_loss = per_code.sum() * config.loc_weight();
    loss.heads.push_back({.hm = hm_loss, .loc = loc_loss});
    hm = hm.defined() ? hm + hm_loss : hm_loss;
    loc = loc.defined() ? loc + loc_loss : loc_loss;
  }
  loss.total = hm + loc;
  loss.terms = {{"hm", hm}, {"loc", loc}};
  return loss;
}

namespace {

// Final boxes of one frame, N x 7 or N x 9 with velocity; labels from 1.
std::vector<Detection> ToDetections(const torch::Tensor& boxes, const torch::Tensor& scores,
                                    const torch::Tensor& labels) {
  const torch::Tensor rows = boxes.cpu().contiguous(), score = scores.cpu(), label = labels.cpu();
  const bool with_velocity = rows.size(1) > 7;
  std::vector<Detection> detections;
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const float* v = rows.data_ptr<float>() + i * rows.size(1);
    detections.push_back({.box = {v[0], v[1], v[2], v[3], v[4], v[5], v[6]},
                          .label = static_cast<int32_t>(label[i].item<int64_t>() - 1),
                          .score = score[i].item<float>(),
                          .vx = with_velocity ? v[7] : 0,
                          .vy = with_velocity ? v[8] : 0});
  }
  return detections;
}

NmsOptions NmsOf(const v1::PostProcessing& post) {
  return {.iou_threshold = post.nms_thresh(), .pre_max = post.nms_pre_maxsize(), .post_max = post.nms_post_maxsize()};
}

std::vector<std::vector<Detection>> DecodeCenters(const v1::Detector& config,
                                                  const std::vector<std::vector<int64_t>>& head_classes,
                                                  const Predictions& predictions, bool nms) {
  const v1::PostProcessing& post = config.post_processing();
  const CenterDecodeOptions options{.heads = head_classes,
                                    .voxel_size = ToArray<3>(config.voxel_size()),
                                    .range = ToArray<6>(config.point_cloud_range()),
                                    .stride = config.dense_head().feature_map_stride(),
                                    .score_thresh = post.score_thresh(),
                                    .post_center_limit_range = ToVector<float>(post.post_center_limit_range()),
                                    .max_obj_per_sample = post.max_obj_per_sample(),
                                    .nms = NmsOf(post),
                                    .nms_per_class = post.nms_per_class(),
                                    .with_velocity = config.dense_head().with_velocity()};
  std::vector<std::vector<CenterBoxes>> heads;
  for (const HeadOutputs& head : predictions.heads) heads.push_back(DecodeCenterHead(head, options));
  std::vector<std::vector<Detection>> frames;
  for (size_t b = 0; !heads.empty() && b < heads[0].size(); ++b) {
    std::vector<CenterBoxes> per_head;
    for (const auto& head : heads) per_head.push_back(head[b]);
    const CenterBoxes joined = JoinHeads(per_head, options, nms);
    frames.push_back(ToDetections(joined.boxes, joined.scores, joined.labels));
  }
  return frames;
}

std::vector<std::vector<Detection>> DecodeAnchorBoxes(const v1::Detector& config, const torch::Tensor& anchors,
                                                      const AnchorOutputs& outputs, bool nms) {
  torch::NoGradGuard no_grad;
  const v1::PostProcessing& post = config.post_processing();
  const int64_t count = anchors.size(0);
  std::vector<std::vector<Detection>> frames;
  for (int64_t b = 0; b < outputs.cls_preds.size(0); ++b) {
    const auto [all_scores, classes] = torch::sigmoid(outputs.cls_preds[b].reshape({count, -1})).max(1);
    torch::Tensor rows = torch::nonzero(all_scores >= post.score_thresh()).squeeze(1);
    // Most anchors score low: only the best are decoded, as suppression takes no more of them.
    rows = rows.index_select(0, BestRows(all_scores.index_select(0, rows), post.nms_pre_maxsize()));
    const auto at_rows = [&](const torch::Tensor& map) {
      return map.defined() ? map[b].reshape({count, -1}).index_select(0, rows).unsqueeze(0) : map;
    };
    const AnchorOutputs best = {.box_preds = at_rows(outputs.box_preds),
                                .dir_cls_preds = at_rows(outputs.dir_cls_preds)};
    torch::Tensor boxes =
        DecodeAnchors(best, anchors.index_select(0, rows), DirectionsOf(config.anchor_head()))[0].cpu();
    torch::Tensor scores = all_scores.index_select(0, rows).cpu(), labels = classes.index_select(0, rows).cpu() + 1;
    if (nms) {
      const torch::Tensor chosen = RowsAfterNms(boxes, scores, NmsOf(post));
      boxes = boxes.index_select(0, chosen);
      scores = scores.index_select(0, chosen);
      labels = labels.index_select(0, chosen);
    }
    frames.push_back(ToDetections(boxes, scores, labels));
  }
  return frames;
}

std::vector<std::vector<Detection>> DecodeRefined(const v1::Detector& config, const Proposals& proposals,
                                                  const Refinement& refinement, bool nms) {
  torch::NoGradGuard no_grad;
  const v1::PostProcessing& post = config.post_processing();
  const torch::Tensor boxes = ApplyRefinement(proposals.boxes, refinement.reg).cpu(),
                      scores = torch::sigmoid(refinement.cls).cpu();
  const torch::Tensor labels = proposals.labels.cpu();
  std::vector<std::vector<Detection>> frames;
  for (int64_t b = 0; b < boxes.size(0); ++b) {
    torch::Tensor rows = torch::nonzero((scores[b] >= post.score_thresh()) & (labels[b] > 0)).squeeze(1);
    if (nms) {
      rows = rows.index_select(
          0, SuppressBoxes(boxes[b].index_select(0, rows), scores[b].index_select(0, rows), NmsOf(post)));
    }
    frames.push_back(
        ToDetections(boxes[b].index_select(0, rows), scores[b].index_select(0, rows), labels[b].index_select(0, rows)));
  }
  return frames;
}

}  // namespace

std::vector<std::vector<Detection>> DetectorModelImpl::Decode(const Predictions& predictions, bool nms) const {
  if (predictions.refinement.cls.defined())
    return DecodeRefined(config_, predictions.proposals, predictions.refinement, nms);
  if (parts_->anchor) return DecodeAnchorBoxes(config_, parts_->anchor_boxes.to(device()), predictions.anchors, nms);
  return DecodeCenters(config_, parts_->head_classes, predictions, nms);
}

torch::Tensor BoxTensor(const std::vector<const Frame*>& views) {
  constexpr int64_t kBoxColumns = 10;
  size_t most = 1;
  for (const Frame* view : views) most = std::max(most, view->boxes.size());
  torch::Tensor boxes = torch::zeros({static_cast<int64_t>(views.size()), static_cast<int64_t>(most), kBoxColumns});
  for (size_t b = 0; b < views.size(); ++b) {
    float* row = boxes.data_ptr<float>() + b * most * kBoxColumns;
    for (const LabeledBox& labeled : views[b]->boxes) {
      const Box3d& box = labeled.box;
      for (const float value : {box.x, box.y, box.z, box.dx, box.dy, box.dz, box.yaw, labeled.vx, labeled.vy,
                                static_cast<float>(labeled.label + 1)}) {
        *row++ = value;
      }
    }
  }
  return boxes;
}

Batch ToDevice(const Batch& batch, const torch::Device& device) {
  const auto moved = [&](const torch::Tensor& tensor) { return tensor.defined() ? tensor.to(device) : tensor; };
  return {.voxels = moved(batch.voxels),
          .coords = moved(batch.coords),
          .num_points = moved(batch.num_points),
          .gt_boxes = moved(batch.gt_boxes),
          .points = moved(batch.points),
          .batch_size = batch.batch_size};
}

namespace {

// Frame and columns of the points inside the range along x and y.
torch::Tensor PointRows(const std::vector<const Frame*>& views, const v1::Detector& detector) {
  std::vector<float> rows;
  const int64_t columns = detector.num_point_features();
  for (size_t b = 0; b < views.size(); ++b) {
    for (size_t i = 0; i < views[b]->num_points(); ++i) {
      const float* const point = &views[b]->points[i * columns];
      const auto inside = [&](int axis) {
        return point[axis] >= detector.point_cloud_range(axis) && point[axis] <= detector.point_cloud_range(axis + 3);
      };
      if (!inside(0) || !inside(1)) continue;
      rows.push_back(static_cast<float>(b));
      rows.insert(rows.end(), point, point + columns);
    }
  }
  return torch::tensor(rows).view({-1, 1 + columns});
}

// Voxels, their coordinates and numbers of points, of frames with `features` columns.
void FillVoxels(const std::vector<const Frame*>& views, const VoxelGrid& grid, int64_t features, ParallelFor parallel,
                Batch& batch) {
  std::vector<Voxels> voxels;
  int64_t total = 0;
  for (const Frame* view : views) {
    voxels.push_back(Voxelize(view->points.data(), view->num_points(), view->num_features, grid, parallel));
    total += static_cast<int64_t>(voxels.back().size());
  }
  if (!views.empty()) features = views[0]->num_features;
  // An empty batch would leave batch norm without statistics: it keeps one pillar without points, in cell 0.
  const int64_t rows = std::max<int64_t>(total, 1);
  batch.voxels = torch::empty({rows, grid.max_points_per_voxel, features});
  if (total == 0) batch.voxels.zero_();
  batch.coords = torch::zeros({rows, 4}, torch::kInt64);
  batch.num_points = torch::ones({rows}, torch::kInt64);
  int64_t row = 0;
  for (int64_t b = 0; b < batch.batch_size; ++b) {
    const Voxels& v = voxels[b];
    CopyVoxelPoints(v, views[b]->points.data(), views[b]->num_features, grid.max_points_per_voxel,
                    batch.voxels.data_ptr<float>() + row * grid.max_points_per_voxel * features, parallel);
    int64_t* coords = batch.coords.data_ptr<int64_t>() + row * 4;
    for (size_t i = 0; i < v.size(); ++i, coords += 4) {
      coords[0] = b;
      std::copy_n(v.coords.begin() + i * 3, 3, coords + 1);
    }
    std::copy(v.num_points.begin(), v.num_points.end(), batch.num_points.data_ptr<int64_t>() + row);
    row += static_cast<int64_t>(v.size());
  }
}

}  // namespace

Batch MakeBatch(const std::vector<const Frame*>& views, const v1::Detector& detector, bool training) {
  Batch batch{.gt_boxes = BoxTensor(views), .batch_size = static_cast<int64_t>(views.size())};
  const bool dynamic = HasDynamicPillars(detector);
  if (dynamic || detector.has_roi_head()) batch.points = PointRows(views, detector);
  // Batches to train on are made by threads beside the step, which has the cores.
  const ParallelFor parallel = training ? ParallelFor(SerialFor) : ParallelFor(OnAllCores);
  if (!dynamic) FillVoxels(views, GridOf(detector, training), detector.num_point_features(), parallel, batch);
  return batch;
}

}  // namespace kd
