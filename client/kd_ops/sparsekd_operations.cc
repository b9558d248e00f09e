#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "client/kd_ops/operation.h"
#include "distill/feature_loss.h"
#include "distill/inherit.h"
#include "distill/label_merge.h"
#include "distill/logit_loss.h"
#include "models/center_head.h"
#include "ops/rotated_iou.h"

namespace kd {
namespace {

using nlohmann::json;

template <size_t N>
std::array<float, N> Floats(const json& values) {
  std::array<float, N> out{};
  for (size_t i = 0; i < N; ++i) out[i] = values.at(i).get<float>();
  return out;
}

std::vector<std::vector<int64_t>> HeadClasses(const json& hyper) {
  const auto names = hyper.at("class_names").get<std::vector<std::string>>();
  std::vector<std::vector<int64_t>> heads;
  for (const auto& group : hyper.at("heads")) {
    std::vector<int64_t>& head = heads.emplace_back();
    for (const auto& name : group)
      head.push_back(std::find(names.begin(), names.end(), name.get<std::string>()) - names.begin());
  }
  return heads;
}

bool Flag(const json& group, const char* key) {
  return group.contains(key) && group[key].is_boolean() && group[key].get<bool>();
}

PointLoss PointLossOf(const json& loss) {
  return loss.at("type") == "SmoothL1Loss" ? PointLoss::kSmoothL1 : PointLoss::kSquare;
}

// Targets on the map that `side` describes: {height, width, stride}.
std::vector<HeadTargets> TargetsFor(const json& hyper, const json& side, const torch::Tensor& boxes,
                                    int64_t code_size) {
  return AssignCenterTargets(boxes, {.heads = HeadClasses(hyper),
                                     .voxel_size = Floats<3>(hyper.at("voxel_size")),
                                     .range = Floats<6>(hyper.at("point_cloud_range")),
                                     .stride = side.at("stride").get<int64_t>(),
                                     .height = side.at("height").get<int64_t>(),
                                     .width = side.at("width").get<int64_t>(),
                                     .num_max_objs = hyper.at("num_max_objs").get<int64_t>(),
                                     .gaussian_overlap = hyper.at("gaussian_overlap").get<float>(),
                                     .min_radius = hyper.at("min_radius").get<int64_t>(),
                                     .code_size = code_size});
}

// Raw outputs of all heads under "<side>.<head>.<branch>", ready for gradients.
std::vector<HeadOutputs> RawOutputs(const OperationCase& c, const std::string& side, size_t heads) {
  std::vector<HeadOutputs> outputs(heads);
  for (size_t h = 0; h < heads; ++h) {
    const std::string prefix = absl::StrCat(side, ".", h, ".");
    for (const auto& [name, tensor] : c.inputs) {
      if (name.compare(0, prefix.size(), prefix) == 0)
        outputs[h][name.substr(prefix.size())] = tensor.clone().requires_grad_(side == "student");
    }
  }
  return outputs;
}

TensorMap CenterLogit(const OperationCase& c) {
  const json& h = c.hyper;
  const auto heads = HeadClasses(h);
  std::vector<HeadOutputs> student = RawOutputs(c, "student", heads.size());
  const std::vector<HeadOutputs> teacher = RawOutputs(c, "teacher", heads.size());
  const bool velocity = student[0].count("vel") > 0;
  const int64_t codes = velocity ? 10 : 8;
  const bool to_teacher = h.value("align", json::object()).value("target", "teacher") == "teacher";
  const auto teacher_targets = TargetsFor(h, h.at("teacher"), c.in("gt_boxes"), codes);
  const auto student_targets = TargetsFor(h, h.at("student"), c.in("gt_boxes"), codes);
  const auto& targets = to_teacher ? teacher_targets : student_targets;
  const json& aligned = to_teacher ? h.at("teacher") : h.at("student");
  const auto height = aligned.at("height").get<int64_t>(), width = aligned.at("width").get<int64_t>();

  std::vector<torch::Tensor> own, theirs, gaussians;
  TensorMap results;
  for (size_t i = 0; i < heads.size(); ++i) {
    own.push_back(ResizeMap(ClampedSigmoid(student[i].at("hm")), height, width));
    theirs.push_back(ResizeMap(ClampedSigmoid(teacher[i].at("hm")), height, width));
    gaussians.push_back(targets[i].heatmaps);
    results[absl::StrCat("out.target.", i, ".heatmaps")] = targets[i].heatmaps;
    results[absl::StrCat("out.target.", i, ".target_boxes")] = targets[i].target_boxes;
    results[absl::StrCat("out.target.", i, ".inds")] = targets[i].inds;
    results[absl::StrCat("out.target.", i, ".masks")] = targets[i].masks;
  }
  const bool imitate_target = h.at("mode") == "target";
  if (imitate_target) theirs = gaussians;
  const json& hm = h.at("hm_loss");
  const bool focal = hm.at("type") == "FocalLossCenterNet";
  std::vector<torch::Tensor> masks;
  if (!focal) {
    PositionMask mask{.threshold = hm.value("thresh", 0.0), .foreground = Flag(hm, "fg_mask")};
    if (!imitate_target) {
      mask.soft = Flag(hm, "soft_mask");
      mask.rank = hm.value("rank", -1);
    }
    masks = PositionMasks(theirs, gaussians, mask);
  }

  torch::Tensor cls = torch::zeros({}), reg = torch::zeros({}), sort = torch::zeros({}), detection = torch::zeros({});
  const json& det = h.at("detection_loss");
  for (size_t i = 0; i < heads.size(); ++i) {
    if (focal) {
      const bool inverse = Flag(hm, "inverse");
      cls = cls + SoftTargetFocalLoss(inverse ? theirs[i] : own[i], inverse ? own[i] : theirs[i], hm.at("pos_thresh")) *
                      hm.at("weight").get<double>();
    } else {
      cls = cls + MaskedProbabilityLoss(own[i], theirs[i], masks[i], PointLossOf(hm)) * hm.at("weight").get<double>();
    }
    const torch::Tensor own_reg = ConcatRegression(student[i], velocity),
                        their_reg = ConcatRegression(teacher[i], velocity);
    const json reg_loss = h.value("reg_loss", json());
    if (reg_loss.is_object() && own_reg.sizes() == their_reg.sizes()) {
      const auto weights = torch::tensor(reg_loss.at("code_weights").get<std::vector<float>>());
      const torch::Tensor term = RegressionL1(GatherCells(own_reg, targets[i].inds),
                                              GatherCells(their_reg, targets[i].inds), targets[i].masks);
      reg = reg + (term * weights).sum() * reg_loss.at("weight").get<double>();
    }
    // As released, only the last head's rank term survives.
    const json sort_loss = h.value("hm_sort_loss", json());
    if (!imitate_target && sort_loss.is_object()) {
      sort = RankLoss(own[i], theirs[i], sort_loss.value("rank", 500)) * sort_loss.at("weight").get<double>();
    }
    const torch::Tensor loc = RegressionL1(GatherCells(own_reg, student_targets[i].inds),
                                           student_targets[i].target_boxes, student_targets[i].masks);
    detection = detection +
                HeatmapFocalLoss(ClampedSigmoid(student[i].at("hm")), student_targets[i].heatmaps) *
                    det.at("cls_weight").get<double>() +
                (loc * torch::tensor(det.at("code_weights").get<std::vector<float>>())).sum() *
                    det.at("loc_weight").get<double>();
  }
  const double count = static_cast<double>(heads.size());
  results["out.hm"] = cls / count;
  results["out.reg"] = reg / count;
  results["out.sort"] = sort / count;
  const torch::Tensor total = results["out.hm"] + results["out.reg"] + results["out.sort"];
  results["out.total"] = total;
  results["out.detection_loss"] = detection;
  std::vector<std::pair<std::string, torch::Tensor>> inputs;
  for (size_t i = 0; i < heads.size(); ++i) {
    for (const auto& [name, map] : student[i]) inputs.emplace_back(absl::StrCat(i, ".", name), map);
  }
  AddGradients(total, inputs, results);
  return results;
}

torch::Tensor SmoothL1(const torch::Tensor& difference, double beta) {
  const torch::Tensor n = torch::abs(difference);
  return torch::where(n < beta, 0.5 * n * n / beta, n - 0.5 * beta);
}

TensorMap CenterLogitDecoded(const OperationCase& c) {
  const json& loss = c.hyper.at("loss");
  const double beta = c.hyper.value("beta", 1.0 / 9.0);
  const float score_thresh = loss.at("PRED_FILTER").at("score_thresh");
  const double iou_thresh = loss.at("PRED_FILTER").at("iou_thresh");
  torch::Tensor hm = torch::zeros({}), reg = torch::zeros({});
  std::vector<std::pair<std::string, torch::Tensor>> inputs;
  int64_t frames = 0;
  for (; c.has(absl::StrCat("student.", frames, ".pred_boxes")); ++frames) {
    const auto get = [&](const char* side, const char* what) {
      return c.in(absl::StrCat(side, ".", frames, ".", what)).clone();
    };
    torch::Tensor boxes = get("student", "pred_boxes").requires_grad_(),
                  scores = get("student", "pred_scores").requires_grad_();
    inputs.emplace_back(absl::StrCat(frames, ".pred_boxes"), boxes);
    inputs.emplace_back(absl::StrCat(frames, ".pred_scores"), scores);
    const torch::Tensor their_boxes = get("teacher", "pred_boxes"), their_scores = get("teacher", "pred_scores");
    std::vector<int64_t> mine, matched;
    for (int64_t i = 0; i < boxes.size(0); ++i) {
      if (!(scores[i].item<float>() >= score_thresh)) continue;
      double best = -1;
      int64_t at = -1;
      for (int64_t j = 0; j < their_boxes.size(0); ++j) {
        if (!(their_scores[j].item<float>() >= score_thresh)) continue;
        const double iou =
            Iou3d(boxes.data_ptr<float>() + i * boxes.size(1), their_boxes.data_ptr<float>() + j * their_boxes.size(1));
        if (iou > best) {
          best = iou;
          at = j;
        }
      }
      if (at < 0 || best < iou_thresh) continue;
      mine.push_back(i);
      matched.push_back(at);
    }
    if (mine.empty()) continue;
    const torch::Tensor rows = torch::tensor(mine, torch::kInt64), other = torch::tensor(matched, torch::kInt64);
    const torch::Tensor s = boxes.index_select(0, rows), t = their_boxes.index_select(0, other);
    hm = hm + SmoothL1(scores.index_select(0, rows) - their_scores.index_select(0, other), beta).mean();
    // The teacher's side of the sine difference carries no gradient.
    const torch::Tensor sine = torch::sin(s.slice(1, 6, 7)) * torch::cos(t.slice(1, 6, 7)) -
                               (torch::cos(s.slice(1, 6, 7)) * torch::sin(t.slice(1, 6, 7))).detach();
    reg = reg + SmoothL1(torch::cat({s.slice(1, 0, 6) - t.slice(1, 0, 6), sine}, 1), beta).mean();
  }
  TensorMap results;
  results["out.hm"] = hm / static_cast<double>(frames) * loss.at("HM_LOSS").at("weight").get<double>();
  results["out.reg"] = reg / static_cast<double>(frames) * loss.at("REG_LOSS").at("weight").get<double>();
  results["out.total"] = results["out.hm"] + results["out.reg"];
  AddGradients(results["out.total"], inputs, results);
  return results;
}

std::vector<LabeledBox> LabeledRows(const torch::Tensor& rows) {
  std::vector<LabeledBox> boxes;
  const torch::Tensor dense = rows.contiguous();
  for (int64_t i = 0; i < dense.size(0); ++i) {
    const float* v = dense.data_ptr<float>() + i * dense.size(1);
    boxes.push_back(
        {.box = {v[0], v[1], v[2], v[3], v[4], v[5], v[6]}, .label = static_cast<int32_t>(v[dense.size(1) - 1]) - 1});
  }
  return boxes;
}

TensorMap LabelKd(const OperationCase& c) {
  const json& options = c.hyper.at("label_assign_kd");
  using Score = LabelMergeOptions::Score;
  const std::string type = options.value("SCORE_TYPE", "cls");
  const LabelMergeOptions merge{.score = type == "iou"     ? Score::kIou
                                         : type == "mixed" ? Score::kMixed
                                                           : Score::kClass,
                                .thresholds = options.at("SCORE_THRESH").get<std::vector<float>>(),
                                .use_ground_truth = options.value("USE_GT", true),
                                .ground_truth_first = options.value("GT_FIRST", false)};
  const torch::Tensor gt = c.in("gt_boxes");
  std::vector<MergedLabels> frames;
  size_t most = 0;
  std::vector<int64_t> counts;
  for (int64_t b = 0; b < gt.size(0); ++b) {
    const torch::Tensor boxes = c.in(absl::StrCat("teacher.", b, ".pred_boxes")).contiguous();
    std::vector<Detection> detections;
    for (int64_t i = 0; i < boxes.size(0); ++i) {
      const float* v = boxes.data_ptr<float>() + i * boxes.size(1);
      detections.push_back(
          {.box = {v[0], v[1], v[2], v[3], v[4], v[5], v[6]},
           .label = static_cast<int32_t>(c.in(absl::StrCat("teacher.", b, ".pred_labels"))[i].item<int64_t>() - 1),
           .score = c.in(absl::StrCat("teacher.", b, ".pred_scores"))[i].item<float>()});
    }
    frames.push_back(MergeLabels(LabeledRows(gt[b]), detections, merge));
    most = std::max(most, frames.back().boxes.size());
    counts.push_back(frames.back().num_teacher_boxes);
  }
  torch::Tensor merged = torch::zeros({gt.size(0), static_cast<int64_t>(most), 8});
  for (size_t b = 0; b < frames.size(); ++b) {
    float* row = merged.data_ptr<float>() + b * most * 8;
    for (const LabeledBox& box : frames[b].boxes) {
      const Box3d& v = box.box;
      for (const float value : {v.x, v.y, v.z, v.dx, v.dy, v.dz, v.yaw, static_cast<float>(box.label + 1)})
        *row++ = value;
    }
  }
  TensorMap results = {{"out.boxes", merged}, {"out.num_teacher_boxes", torch::tensor(counts, torch::kInt64)}};
  const auto targets = TargetsFor(c.hyper, c.hyper, merged, 8);
  for (size_t h = 0; h < targets.size(); ++h) {
    const std::string prefix = absl::StrCat("out.target.", h, ".");
    results[prefix + "heatmaps"] = targets[h].heatmaps;
    results[prefix + "target_boxes"] = targets[h].target_boxes;
    results[prefix + "inds"] = targets[h].inds;
    results[prefix + "masks"] = targets[h].masks;
  }
  return results;
}

// 3x3 convolutions [+ batch norm] [+ rectifier], "align_block.{i}.{0,1}.*".
torch::Tensor AlignByConvolution(const OperationCase& c, const json& align, torch::Tensor x, TensorMap& parameters) {
  const auto filters = align.at("num_filters").get<std::vector<int64_t>>();
  const int64_t kernel = align.value("kernel_size", 3);
  for (size_t i = 0; i + 1 < filters.size(); ++i) {
    const auto parameter = [&](const std::string& name) {
      const auto found = c.parameters.find(absl::StrCat("align_block.", i, ".", name));
      if (found == c.parameters.end()) return torch::Tensor();
      torch::Tensor& value = parameters[absl::StrCat(i, ".", name)];
      if (!value.defined())
        value = found->second.clone().requires_grad_(found->second.is_floating_point() &&
                                                     name.find("running") == std::string::npos);
      return value;
    };
    x = torch::conv2d(x, parameter("0.weight"), parameter("0.bias"), 1, kernel / 2, 1, align.value("groups", 1));
    if (Flag(align, "use_norm")) {
      x = torch::batch_norm(x, parameter("1.weight"), parameter("1.bias"), parameter("1.running_mean"),
                            parameter("1.running_var"), Flag(c.hyper, "training"), 0.1, 1e-5, false);
    }
    if (Flag(align, "use_act")) x = torch::relu(x);
  }
  return x;
}

MapGeometry GeometryOfSide(const json& hyper, const json& side, double downsample) {
  const auto range = Floats<6>(hyper.at("point_cloud_range"));
  const auto voxel = Floats<3>(hyper.at("voxel_size"));
  const float stride = side.at("stride").get<float>() * static_cast<float>(downsample);
  return {.low = {range[0], range[1]}, .cell = {voxel[0] * stride, voxel[1] * stride}};
}

// RoIs of every frame as padded rows: ground truth, or boxes of one side with enough score.
torch::Tensor RoisOf(const OperationCase& c, const json& pool) {
  const std::string source = pool.value("ROI", "gt");
  if (source == "gt") return c.in("gt_boxes");
  const std::string side = source == "tea" ? "teacher" : "student";
  std::vector<torch::Tensor> frames;
  int64_t most = 1;
  for (int64_t b = 0; c.has(absl::StrCat(side, "_boxes.", b)); ++b) {
    const torch::Tensor keep = c.in(absl::StrCat(side, "_scores.", b)) > pool.value("THRESH", 0.0);
    frames.push_back(c.in(absl::StrCat(side, "_boxes.", b)).slice(1, 0, 7).index({keep}));
    most = std::max(most, frames.back().size(0));
  }
  torch::Tensor rois = torch::zeros({static_cast<int64_t>(frames.size()), most, 7});
  for (size_t b = 0; b < frames.size(); ++b)
    rois[static_cast<int64_t>(b)].slice(0, 0, frames[b].size(0)).copy_(frames[b]);
  return rois;
}

TensorMap CenterFeature(const OperationCase& c) {
  const json& loss = c.hyper.at("loss");
  const json feature = c.hyper.value("feature", json::object());
  const json align = feature.value("ALIGN", json::object());
  const torch::Tensor leaf = c.in("student").clone().requires_grad_();
  torch::Tensor student = leaf, teacher = c.in("teacher");
  TensorMap parameters;
  if (Flag(align, "ENABLED") && align.value("MODE", "") == "conv")
    student = AlignByConvolution(c, align, student, parameters);
  if (Flag(align, "ENABLED") && align.value("MODE", "") == "interpolate" &&
      student.sizes().slice(2) != teacher.sizes().slice(2)) {
    if (align.value("target", "teacher") == "teacher") {
      student = ResizeMap(student, teacher.size(2), teacher.size(3));
    } else {
      teacher = ResizeMap(teacher, student.size(2), student.size(3));
    }
  }
  const PointLoss point = PointLossOf(loss);
  const std::string mode = loss.at("mode");
  const double weight = loss.at("weight");
  torch::Tensor mask;
  if (Flag(loss, "fg_mask")) {
    const torch::Tensor gaussian = c.in("target_heatmaps.0");
    mask = Flag(loss, "soft_mask") && mode == "raw" ? std::get<0>(gaussian.max(1))
                                                    : (gaussian.sum(1) > 0).to(torch::kFloat32);
  } else if (Flag(loss, "score_mask")) {
    mask = (std::get<0>(torch::sigmoid(c.in("teacher_hm.0")).max(1)) > loss.at("score_thresh").get<double>())
               .to(torch::kFloat32);
  }
  torch::Tensor total;
  if (mode == "raw") {
    total = FeatureMapLoss(student, teacher, mask, point) * weight;
  } else if (mode == "spatial") {
    if (!mask.defined()) mask = torch::ones({student.size(0), student.size(2), student.size(3)});
    total = AttentionLoss(student, teacher, mask, point) * weight;
  } else {
    const json& pool = feature.at("ROI_POOL");
    const auto grid = pool.at("GRID_SIZE").get<int64_t>();
    const double down = pool.value("DOWNSAMPLE_RATIO", 1.0);
    const torch::Tensor rois = RoisOf(c, pool);
    const torch::Tensor own =
        RotatedGridPool(student, rois, grid, GeometryOfSide(c.hyper, c.hyper.at("student"), down));
    const torch::Tensor other =
        RotatedGridPool(teacher, rois, grid, GeometryOfSide(c.hyper, c.hyper.at("teacher"), down));
    if (own.size(0) == 0) {
      total = student.sum() * 0;
    } else if (mode == "aff") {
      total = AffinityLoss(own, other, point) * weight;
    } else {
      total = FeatureMapLoss(own, other, torch::Tensor(), point) * weight;
      if (loss.contains("GID") && loss["GID"].is_object()) {
        std::vector<int64_t> counts;
        for (int64_t b = 0; b < rois.size(0); ++b) counts.push_back((rois[b].select(1, 3) != 0).sum().item<int64_t>());
        total = total + RelationLoss(own, other, counts) * loss["GID"].at("rel_weight").get<double>();
      }
    }
  }
  TensorMap results = {{"out.loss", total}};
  std::vector<std::pair<std::string, torch::Tensor>> inputs = {{"feature", leaf}};
  for (const auto& [name, value] : parameters) {
    if (value.requires_grad()) inputs.emplace_back("param." + name, value);
  }
  AddGradients(total, inputs, results);
  return results;
}

TensorMap RotatedGridPoolCase(const OperationCase& c) {
  torch::Tensor map = c.in("feature").clone().requires_grad_();
  const float stride = c.hyper.value("stride", 1.0f);
  MapGeometry geometry{.low = {0, 0}, .cell = {stride, stride}};
  if (c.hyper.contains("voxel_size")) geometry = GeometryOfSide(c.hyper, c.hyper, 1);
  const torch::Tensor pooled = RotatedGridPool(map, c.in("rois"), c.hyper.at("grid_size"), geometry);
  TensorMap results = {{"out.pooled", pooled}};
  if (c.has("cotangent")) AddGradients((pooled * c.in("cotangent")).sum(), {{"feature", map}}, results);
  return results;
}

SafeTensorsFile StateUnder(const OperationCase& c, const std::string& prefix) {
  SafeTensorsFile file;
  for (const auto& [name, tensor] : c.inputs) {
    if (name.compare(0, prefix.size(), prefix) == 0) file.tensors[name.substr(prefix.size())] = FromTorch(tensor);
  }
  return file;
}

// Sources that CenterPoint on pillars concatenates, in OpenPCDet's configuration.
ConcatenatedSources SourcesOfConfig(const json& model) {
  v1::Detector detector;
  const json& backbone = model.at("BACKBONE_2D");
  const double width = backbone.value("WIDTH", 1.0);
  for (const double filters : backbone.at("NUM_UPSAMPLE_FILTERS").get<std::vector<double>>()) {
    detector.mutable_backbone_2d()->add_num_upsample_filters(static_cast<uint32_t>(filters * width));
  }
  for (const uint32_t filters : model.at("VFE").value("NUM_FILTERS", std::vector<uint32_t>{}))
    detector.mutable_vfe()->add_num_filters(filters);
  return SourcesOf(detector);
}

TensorMap Inherit(const OperationCase& c) {
  const std::string strategy = c.hyper.at("strategy");
  TORCH_CHECK(c.hyper.at("teacher").at("VFE").at("NAME") == "PillarVFE",
              "inheritance is there for CenterPoint on pillars only");
  TORCH_CHECK(strategy == "FNAV1" || strategy == "FNAV2" || strategy == "MATCH", "strategy ", strategy,
              " is not there; FNAV1, FNAV2 and MATCH are");
  const InheritStrategy ours = strategy == "FNAV1"   ? InheritStrategy::kFnav1
                               : strategy == "FNAV2" ? InheritStrategy::kFirstChannels
                                                     : InheritStrategy::kMatch;
  const SafeTensorsFile student =
      InheritWeights(StateUnder(c, "teacher."), StateUnder(c, "student."), ours, SourcesOfConfig(c.hyper.at("teacher")),
                     SourcesOfConfig(c.hyper.at("student")));
  TensorMap results;
  for (const auto& [name, tensor] : student.tensors) results["out.student." + name] = ToTorch(tensor);
  return results;
}

}  // namespace

void AddSparseKdOperations(OperationTable& table) {
  table["sparsekd.center.logit"] = CenterLogit;
  table["sparsekd.center.logit_decoded"] = CenterLogitDecoded;
  table["sparsekd.center.feature"] = CenterFeature;
  table["sparsekd.label_kd"] = LabelKd;
  table["sparsekd.rotated_grid_pool"] = RotatedGridPoolCase;
  table["sparsekd.inherit"] = Inherit;
}

}  // namespace kd
