#include <algorithm>

#include "client/kd_ops/operation.h"
#include "models/box_suppression.h"
#include "models/center_head.h"
#include "ops/box_geometry.h"
#include "ops/gaussian.h"
#include "ops/rotated_iou.h"
#include "ops/voxelize.h"

namespace kd {
namespace {

template <size_t N>
std::array<float, N> Floats(const nlohmann::json& values) {
  std::array<float, N> out{};
  for (size_t i = 0; i < N; ++i) out[i] = values.at(i).get<float>();
  return out;
}

// Rows of the first 7 columns, contiguous.
torch::Tensor Boxes(const torch::Tensor& boxes) {
  return boxes.slice(boxes.dim() - 1, 0, 7).to(torch::kFloat32).contiguous();
}
const float* Row(const torch::Tensor& rows, int64_t i) {
  return rows.data_ptr<float>() + i * rows.size(rows.dim() - 1);
}

TensorMap Voxelise(const OperationCase& c) {
  const torch::Tensor points = c.in("points").contiguous();
  const VoxelGrid grid{.range = Floats<6>(c.hyper.at("point_cloud_range")),
                       .voxel_size = Floats<3>(c.hyper.at("voxel_size")),
                       .max_points_per_voxel = c.hyper.at("max_points_per_voxel"),
                       .max_voxels = c.hyper.at("max_voxels")};
  const auto features = static_cast<int>(points.size(1));
  const Voxels v = Voxelize(points.data_ptr<float>(), static_cast<size_t>(points.size(0)), features, grid);
  const auto count = static_cast<int64_t>(v.size());
  torch::Tensor voxels = torch::empty({count, grid.max_points_per_voxel, features});
  CopyVoxelPoints(v, points.data_ptr<float>(), features, grid.max_points_per_voxel, voxels.data_ptr<float>());
  return {{"out.voxels", voxels},
          {"out.coords", torch::tensor(v.coords, torch::kInt64).view({count, 3})},
          {"out.num_points", torch::tensor(v.num_points, torch::kInt64)}};
}

TensorMap RangeFilter(const OperationCase& c) {
  const auto range = Floats<6>(c.hyper.at("point_cloud_range"));
  const auto inside = [&](const float* p, int axes) {
    for (int axis = 0; axis < axes; ++axis) {
      if (!(p[axis] >= range[axis] && p[axis] <= range[axis + 3])) return false;
    }
    return true;
  };
  const torch::Tensor points = c.in("points").contiguous(), boxes = Boxes(c.in("boxes"));
  TensorMap results;
  torch::Tensor mask = torch::zeros({points.size(0)}, torch::kUInt8);
  for (int64_t i = 0; i < points.size(0); ++i) mask[i] = static_cast<int>(inside(Row(points, i), 2));
  results["out.point_mask"] = mask;
  torch::Tensor centre = torch::zeros({boxes.size(0)}, torch::kUInt8);
  for (int64_t i = 0; i < boxes.size(0); ++i) centre[i] = static_cast<int>(inside(Row(boxes, i), 3));
  results["out.box_mask_center"] = centre;
  for (const int wanted : c.hyper.at("min_num_corners").get<std::vector<int>>()) {
    torch::Tensor keep = torch::zeros({boxes.size(0)}, torch::kUInt8);
    for (int64_t i = 0; i < boxes.size(0); ++i) {
      int count = 0;
      for (const auto& corner : BoxCorners(Row(boxes, i))) count += inside(corner.data(), 2);
      keep[i] = static_cast<int>(count >= wanted);
    }
    results["out.box_mask_corner_" + std::to_string(wanted)] = keep;
  }
  return results;
}

TensorMap RotatedIou(const OperationCase& c) {
  const torch::Tensor a = Boxes(c.in("a")), b = Boxes(c.in("b"));
  torch::Tensor overlap = torch::zeros({a.size(0), b.size(0)}), bev = overlap.clone(), solid = overlap.clone();
  for (int64_t i = 0; i < a.size(0); ++i) {
    for (int64_t j = 0; j < b.size(0); ++j) {
      overlap[i][j] = BevOverlap(Row(a, i), Row(b, j));
      bev[i][j] = BevIou(Row(a, i), Row(b, j));
      solid[i][j] = Iou3d(Row(a, i), Row(b, j));
    }
  }
  return {{"out.bev_overlap", overlap}, {"out.bev_iou", bev}, {"out.iou3d", solid}};
}

constexpr int64_t kNoLimit = int64_t{1} << 40;

// Rows of the input that stay of those where `takes_part` (N bool).
torch::Tensor Suppress(const torch::Tensor& boxes, const torch::Tensor& scores, const torch::Tensor& takes_part,
                       const NmsOptions& options) {
  const torch::Tensor rows = torch::nonzero(takes_part).squeeze(1);
  return rows.index_select(0, SuppressBoxes(boxes.index_select(0, rows), scores.index_select(0, rows), options));
}

TensorMap Nms(const OperationCase& c) {
  const torch::Tensor boxes = Boxes(c.in("boxes")), scores = c.in("scores");
  const bool limited = c.hyper.contains("score_thresh") && !c.hyper["score_thresh"].is_null();
  const torch::Tensor takes_part =
      limited ? scores >= c.hyper["score_thresh"].get<double>() : torch::ones_like(scores, torch::kBool);
  const torch::Tensor rows = Suppress(boxes, scores, takes_part,
                                      {.iou_threshold = c.hyper.at("thresh"),
                                       .pre_max = c.hyper.value("pre_maxsize", kNoLimit),
                                       .post_max = c.hyper.value("post_maxsize", kNoLimit)});
  return {{"out.keep", rows}, {"out.scores", scores.index_select(0, rows)}};
}

TensorMap NmsMultiClass(const OperationCase& c) {
  const torch::Tensor boxes = Boxes(c.in("boxes")), all_scores = c.in("scores");
  std::vector<torch::Tensor> out_boxes, out_scores, out_labels;
  for (int64_t k = 0; k < all_scores.size(1); ++k) {
    const torch::Tensor scores = all_scores.select(1, k);
    const torch::Tensor rows = Suppress(boxes, scores, scores >= c.hyper.at("score_thresh").get<double>(),
                                        {.iou_threshold = c.hyper.at("thresh"),
                                         .pre_max = c.hyper.at("pre_maxsize"),
                                         .post_max = c.hyper.at("post_maxsize")});
    out_boxes.push_back(boxes.index_select(0, rows));
    out_scores.push_back(scores.index_select(0, rows));
    out_labels.push_back(torch::full({rows.size(0)}, k, torch::kInt64));
  }
  return {{"out.boxes", torch::cat(out_boxes)},
          {"out.scores", torch::cat(out_scores)},
          {"out.labels", torch::cat(out_labels)}};
}

// The value of class `k`, from a list or one number for all.
template <typename T>
T PerClass(const nlohmann::json& value, size_t k) {
  return value.is_array() ? value.at(k).get<T>() : value.get<T>();
}

// Labels count from 0.
TensorMap NmsClassSpecific(const OperationCase& c) {
  const torch::Tensor boxes = Boxes(c.in("boxes")), scores = c.in("scores"), labels = c.in("labels");
  std::vector<torch::Tensor> all;
  for (size_t k = 0; k < c.hyper.at("score_thresh").size(); ++k) {
    const torch::Tensor rows =
        torch::nonzero((labels == static_cast<int64_t>(k)) & (scores > PerClass<double>(c.hyper.at("score_thresh"), k)))
            .squeeze(1);
    // The original sorts here, it does not choose first.
    const torch::Tensor sorted = rows.index_select(0, std::get<1>(scores.index_select(0, rows).sort(0, true)));
    const torch::Tensor best = sorted.slice(0, 0, PerClass<int64_t>(c.hyper.at("pre_maxsize"), k));
    all.push_back(best.index_select(
        0, RowsAfterNms(boxes.index_select(0, best), scores.index_select(0, best),
                        {.iou_threshold = PerClass<double>(c.hyper.at("thresh"), k), .post_max = kNoLimit})));
  }
  const torch::Tensor rows = torch::cat(all);
  return {{"out.keep", rows}, {"out.scores", scores.index_select(0, rows)}};
}

TensorMap PointsInBoxesCase(const OperationCase& c) {
  const torch::Tensor points = c.in("points").slice(2, 0, 3).contiguous(), boxes = Boxes(c.in("boxes"));
  std::vector<torch::Tensor> frames;
  for (int64_t b = 0; b < points.size(0); ++b) {
    frames.push_back(torch::tensor(
        PointsInBoxes(points.data_ptr<float>() + b * points.size(1) * 3, static_cast<size_t>(points.size(1)),
                      boxes.data_ptr<float>() + b * boxes.size(1) * 7, static_cast<size_t>(boxes.size(1)),
                      c.hyper.value("margin", 1e-5f)),
        torch::kInt64));
  }
  return {{"out.index", torch::stack(frames)}};
}

TensorMap ResidualCoderCase(const OperationCase& c) {
  const ResidualCoder coder{.angle_by_sincos = c.hyper.value("encode_angle_by_sincos", false)};
  const torch::Tensor boxes = Boxes(c.in("boxes")), anchors = Boxes(c.in("anchors"));
  torch::Tensor encoded = torch::zeros({boxes.size(0), coder.code_size()}), back = torch::zeros({boxes.size(0), 7});
  for (int64_t i = 0; i < boxes.size(0); ++i) {
    float* code = encoded.data_ptr<float>() + i * coder.code_size();
    coder.Encode(Row(boxes, i), Row(anchors, i), code);
    coder.Decode(code, Row(anchors, i), back.data_ptr<float>() + i * 7);
  }
  TensorMap results = {{"out.encoded", encoded}, {"out.round_trip", back}};
  if (c.has("codes")) {
    const torch::Tensor codes = c.in("codes").contiguous();
    torch::Tensor decoded = torch::zeros({codes.size(0), 7});
    for (int64_t i = 0; i < codes.size(0); ++i)
      coder.Decode(Row(codes, i), Row(anchors, i), decoded.data_ptr<float>() + i * 7);
    results["out.decoded"] = decoded;
  }
  return results;
}

TensorMap NearestBevIou(const OperationCase& c) {
  const torch::Tensor a = Boxes(c.in("a")), b = Boxes(c.in("b"));
  torch::Tensor iou = torch::zeros({a.size(0), b.size(0)}), aligned = torch::zeros({a.size(0), 4});
  for (int64_t i = 0; i < a.size(0); ++i) {
    const auto box = NearestAlignedBox(Row(a, i));
    for (int k = 0; k < 4; ++k) aligned[i][k] = box[k];
    for (int64_t j = 0; j < b.size(0); ++j) iou[i][j] = AlignedIou(box, NearestAlignedBox(Row(b, j)));
  }
  return {{"out.iou", iou}, {"out.aligned", aligned}};
}

TensorMap LimitPeriodCase(const OperationCase& c) {
  const torch::Tensor values = c.in("values").contiguous();
  const auto limited = [&](float offset, double period) {
    torch::Tensor out = torch::zeros_like(values);
    for (int64_t i = 0; i < values.numel(); ++i) {
      out.data_ptr<float>()[i] = LimitPeriod(values.data_ptr<float>()[i], offset, static_cast<float>(period));
    }
    return out;
  };
  return {{"out.offset_half_pi", limited(0.5f, M_PI)},
          {"out.offset_half_2pi", limited(0.5f, 2 * M_PI)},
          {"out.offset_zero_2pi", limited(0, 2 * M_PI)}};
}

TensorMap BoxCornersCase(const OperationCase& c) {
  const torch::Tensor boxes = Boxes(c.in("boxes"));
  torch::Tensor corners = torch::zeros({boxes.size(0), 8, 3});
  for (int64_t i = 0; i < boxes.size(0); ++i) {
    float* out = corners.data_ptr<float>() + i * 24;
    for (const auto& corner : BoxCorners(Row(boxes, i))) out = std::copy(corner.begin(), corner.end(), out);
  }
  return {{"out.corners", corners}};
}

TensorMap GaussianRadiusCase(const OperationCase& c) {
  const torch::Tensor dx = c.in("dx").contiguous(), dy = c.in("dy").contiguous();
  TensorMap results;
  for (const float overlap : c.hyper.at("min_overlap").get<std::vector<float>>()) {
    torch::Tensor radius = torch::zeros_like(dx);
    for (int64_t i = 0; i < dx.numel(); ++i) {
      radius.data_ptr<float>()[i] = GaussianRadius(dx.data_ptr<float>()[i], dy.data_ptr<float>()[i], overlap);
    }
    results["out.radius_" + std::to_string(std::lround(overlap * 10))] = radius;
  }
  return results;
}

TensorMap GaussianDrawCase(const OperationCase& c) {
  const torch::Tensor centers = c.in("centers").contiguous();
  TensorMap results;
  // The map's size stands in no input, only in the result.
  const auto shape = c.wanted.find("out.heatmap");
  TORCH_CHECK(shape != c.wanted.end() && shape->second.size() == 2,
              "the case must hold out.heatmap, whose shape is the map's size");
  const int height = static_cast<int>(shape->second[0]), width = static_cast<int>(shape->second[1]);
  torch::Tensor map = torch::zeros({height, width});
  for (int64_t i = 0; i < centers.size(0); ++i) {
    const float* row = Row(centers, i);
    DrawGaussian(map.data_ptr<float>(), height, width, static_cast<int>(row[0]), static_cast<int>(row[1]),
                 static_cast<int>(row[2]));
  }
  results["out.heatmap"] = map;
  return results;
}

TensorMap HeatmapFocalLossCase(const OperationCase& c) {
  torch::Tensor prob = c.in("prob").clone().requires_grad_();
  TensorMap results;
  results["out.loss"] = HeatmapFocalLoss(prob, c.in("target"));
  AddGradients(results["out.loss"], {{"prob", prob}}, results);
  return results;
}

TensorMap SigmoidFocalLossCase(const OperationCase& c) {
  torch::Tensor logits = c.in("logits").clone().requires_grad_();
  const torch::Tensor& target = c.in("targets");
  const double alpha = c.hyper.value("alpha", 0.25), gamma = c.hyper.value("gamma", 2.0);
  const torch::Tensor p = torch::sigmoid(logits);
  const torch::Tensor focal =
      torch::pow(target * (1 - p) + (1 - target) * p, gamma) * (target * alpha + (1 - target) * (1 - alpha));
  const torch::Tensor entropy =
      torch::clamp_min(logits, 0) - logits * target + torch::log1p(torch::exp(-torch::abs(logits)));
  torch::Tensor loss = focal * entropy;
  const torch::Tensor& weights = c.in("weights");
  loss = loss * (weights.dim() < loss.dim() ? weights.unsqueeze(-1) : weights);
  TensorMap results = {{"out.loss", loss}};
  AddGradients(loss.sum(), {{"logits", logits}}, results);
  return results;
}

TensorMap WeightedSmoothL1Case(const OperationCase& c) {
  torch::Tensor input = c.in("input").clone().requires_grad_();
  torch::Tensor target = c.in("target");
  torch::Tensor missing = torch::isnan(target);
  if (c.has("target_is_nan")) missing = missing | (c.in("target_is_nan") != 0);
  target = torch::where(missing, input.detach(), target);
  torch::Tensor difference = torch::where(missing, torch::zeros_like(input), input - target);
  if (c.hyper.contains("code_weights") && !c.hyper["code_weights"].is_null()) {
    difference = difference * torch::tensor(c.hyper["code_weights"].get<std::vector<float>>());
  }
  const double beta = c.hyper.at("beta");
  const torch::Tensor n = torch::abs(difference);
  torch::Tensor loss = beta < 1e-5 ? n : torch::where(n < beta, 0.5 * n * n / beta, n - 0.5 * beta);
  if (c.has("weights")) loss = loss * c.in("weights").unsqueeze(-1);
  TensorMap results = {{"out.loss", loss}};
  AddGradients(loss.sum(), {{"input", input}}, results);
  return results;
}

}  // namespace

void AddDataOperations(OperationTable& table) {
  table["data.voxelize"] = Voxelise;
  table["data.range_filter"] = RangeFilter;
}

void AddMathOperations(OperationTable& table) {
  table["math.rotated_iou"] = RotatedIou;
  table["math.nms"] = Nms;
  table["math.nms_multi_class"] = NmsMultiClass;
  table["math.nms_class_specific"] = NmsClassSpecific;
  table["math.points_in_boxes"] = PointsInBoxesCase;
  table["math.residual_coder"] = ResidualCoderCase;
  table["math.nearest_bev_iou"] = NearestBevIou;
  table["math.limit_period"] = LimitPeriodCase;
  table["math.box_corners"] = BoxCornersCase;
  table["math.gaussian_radius"] = GaussianRadiusCase;
  table["math.gaussian_draw"] = GaussianDrawCase;
  table["math.heatmap_focal_loss"] = HeatmapFocalLossCase;
  table["math.sigmoid_focal_loss"] = SigmoidFocalLossCase;
  table["math.weighted_smooth_l1"] = WeightedSmoothL1Case;
}

}  // namespace kd
