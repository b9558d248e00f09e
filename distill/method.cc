#include "distill/method.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "distill/feature_loss.h"
#include "distill/label_merge.h"
#include "distill/logit_loss.h"
#include "distill/map_geometry.h"
#include "models/center_head.h"

namespace kd {
namespace {

v1::DataType DataTypeOf(const std::string& precision) {
  if (precision == "fp16") return v1::DATA_TYPE_FLOAT16;
  if (precision == "int8") return v1::DATA_TYPE_INT8;
  return v1::DATA_TYPE_FLOAT32;
}

void AddItem(v1::ResponsePlan& plan, std::string tensor, v1::Selection selection, v1::DataType dtype,
             uint32_t top_k = 0, uint32_t grid_size = 0) {
  v1::ResponsePlan::Item* item = plan.add_items();
  item->set_tensor(std::move(tensor));
  item->set_selection(selection);
  item->set_dtype(dtype);
  item->set_top_k(top_k);
  item->set_grid_size(grid_size);
}

size_t NumHeads(const v1::Detector& detector) {
  return std::max(1, detector.dense_head().class_names_each_head_size());
}

std::vector<int64_t> MapSize(const v1::Detector& detector) {
  const MapGeometry geometry = GeometryOf(detector);
  const auto cells = [&](int axis) {
    return std::lround((detector.point_cloud_range(axis + 3) - detector.point_cloud_range(axis)) / geometry.cell[axis]);
  };
  return {cells(1), cells(0)};
}

int64_t MapChannels(const v1::Detector& detector) {
  int64_t channels = 0;
  for (const uint32_t width : detector.backbone_2d().num_upsample_filters()) channels += width;
  return channels;
}

torch::Tensor RowsOf(const DecodedRecord& record, int64_t columns) {
  return torch::from_blob(const_cast<float*>(record.values.data()),
                          {static_cast<int64_t>(record.values.size()) / std::max<int64_t>(columns, 1), columns})
      .clone();
}

// Responses arrive in the CPU's memory; losses are computed where the student is.
torch::Device DeviceOf(const StepContext& step) { return step.student.spatial_features_2d.device(); }

// The pivotal rows of a batch: which cell of which frame, and the teacher's values there.
struct PivotalRows {
  torch::Tensor frame, cell;  // R int64
  torch::Tensor values;       // R x C
};
PivotalRows GatherPivotal(const std::vector<Response>& responses, const std::string& tensor,
                          const torch::Device& device) {
  std::vector<int64_t> frame, cell;
  std::vector<torch::Tensor> values;
  for (size_t b = 0; b < responses.size(); ++b) {
    const DecodedRecord& record = responses[b].at(tensor);
    for (const uint32_t index : record.indices) {
      frame.push_back(static_cast<int64_t>(b));
      cell.push_back(index);
    }
    values.push_back(RowsOf(record, record.header.shape(0)));
  }
  return {.frame = torch::tensor(frame, torch::kInt64).to(device),
          .cell = torch::tensor(cell, torch::kInt64).to(device),
          .values = torch::cat(values).to(device)};
}

// Values of a map B x C x H x W at pivotal cells -> R x C.
torch::Tensor AtCells(const torch::Tensor& map, const PivotalRows& rows) {
  return map.flatten(2).permute({0, 2, 1}).index({rows.frame, rows.cell});
}

class PivotalLogits : public DistillationMethod {
 public:
  PivotalLogits(const v1::DistillMethod& spec, const v1::Detector& teacher) : spec_(spec), heads_(NumHeads(teacher)) {}

  v1::ResponsePlan Plan() const override {
    v1::ResponsePlan plan;
    for (size_t h = 0; h < heads_; ++h) {
      AddItem(plan, absl::StrCat("hm.", h), v1::SELECTION_PIVOTAL, DataTypeOf(spec_.precision()), spec_.top_k());
      if (spec_.reg_weight() > 0) AddItem(plan, absl::StrCat("reg.", h), v1::SELECTION_OBJECTS, v1::DATA_TYPE_FLOAT32);
    }
    return plan;
  }

  std::map<std::string, torch::Tensor> Loss(const StepContext& step) override {
    const std::vector<HeadTargets> targets = AssignTargets(step.teacher_detector, step.gt_boxes);
    const std::vector<int64_t> size = MapSize(step.teacher_detector);
    std::map<std::string, torch::Tensor> terms;
    torch::Tensor cls, reg;
    for (size_t h = 0; h < heads_; ++h) {
      PivotalRows rows = GatherPivotal(step.responses, absl::StrCat("hm.", h), DeviceOf(step));
      torch::Tensor mask = WeightsOf(rows, targets[h]);
      // A record that was made for more cells serves this job, too; the loss is of the cells that it asked for.
      if (const torch::Tensor kept = Heaviest(rows, mask); kept.size(0) < mask.size(0)) {
        rows = {
            .frame = rows.frame.index({kept}), .cell = rows.cell.index({kept}), .values = rows.values.index({kept})};
        mask = mask.index({kept});
      }
      const torch::Tensor teacher = ClampedSigmoid(rows.values);
      const torch::Tensor student = AtCells(ResizeMap(step.student_probabilities[h], size[0], size[1]), rows);
      const torch::Tensor loss = (torch::pow(student - teacher, 2) * mask.unsqueeze(1)).sum() / (mask.sum() + 1e-6);
      cls = cls.defined() ? cls + loss : loss;
      if (spec_.reg_weight() > 0) {
        const torch::Tensor term = RegressionTerm(step, targets[h], h);
        reg = reg.defined() ? reg + term : term;
      }
    }
    const double heads = static_cast<double>(heads_);
    terms["pivotal_logits"] = cls * (spec_.weight() / heads);
    if (reg.defined()) terms["pivotal_regression"] = reg * (spec_.reg_weight() / heads);
    return terms;
  }

 private:
  // The teacher's highest probability times the highest Gaussian, per row.
  static torch::Tensor WeightsOf(const PivotalRows& rows, const HeadTargets& targets) {
    const torch::Tensor gaussian = std::get<0>(targets.heatmaps.max(1)).flatten(1).index({rows.frame, rows.cell});
    return rows.values.size(0) > 0 ? std::get<0>(ClampedSigmoid(rows.values).max(1)) * gaussian : gaussian;
  }

  // Rows of the top_k greatest weights of every frame, in the rows' order; among equals the first.
  torch::Tensor Heaviest(const PivotalRows& rows, const torch::Tensor& weights) const {
    const torch::Tensor frames = rows.frame.cpu(), values = weights.cpu();
    const auto frame = frames.accessor<int64_t, 1>();
    const auto weight = values.accessor<float, 1>();
    std::vector<int64_t> kept;
    for (int64_t begin = 0, end = 0; begin < frame.size(0); begin = end) {
      while (end < frame.size(0) && frame[end] == frame[begin]) ++end;
      std::vector<int64_t> own(static_cast<size_t>(end - begin));
      std::iota(own.begin(), own.end(), begin);
      if (own.size() > spec_.top_k()) {
        std::stable_sort(own.begin(), own.end(), [&](int64_t a, int64_t b) { return weight[a] > weight[b]; });
        own.resize(spec_.top_k());
        std::sort(own.begin(), own.end());
      }
      kept.insert(kept.end(), own.begin(), own.end());
    }
    return torch::tensor(kept, torch::kInt64).to(weights.device());
  }

  // Per code: mean absolute difference at the objects' cells; both maps have the same size.
  static torch::Tensor RegressionTerm(const StepContext& step, const HeadTargets& targets, size_t head) {
    const torch::Tensor student =
        GatherCells(RegressionMap(step.student_detector, step.student.heads[head]), targets.inds);
    torch::Tensor teacher = torch::zeros_like(student).detach();
    for (size_t b = 0; b < step.responses.size(); ++b) {
      const DecodedRecord& record = step.responses[b].at(absl::StrCat("reg.", head));
      const torch::Tensor slots = torch::nonzero(targets.masks[static_cast<int64_t>(b)]).squeeze(1);
      teacher[static_cast<int64_t>(b)].index_copy_(0, slots, RowsOf(record, student.size(2)).to(student.device()));
    }
    return RegressionL1(student, teacher, targets.masks).sum();
  }

  const v1::DistillMethod spec_;
  const size_t heads_;
};

class UniformLogits : public DistillationMethod {
 public:
  UniformLogits(const v1::DistillMethod& spec, const v1::Detector& teacher) : spec_(spec), heads_(NumHeads(teacher)) {}

  v1::ResponsePlan Plan() const override {
    v1::ResponsePlan plan;
    for (size_t h = 0; h < heads_; ++h)
      AddItem(plan, absl::StrCat("hm.", h), v1::SELECTION_ALL, DataTypeOf(spec_.precision()));
    return plan;
  }

  std::map<std::string, torch::Tensor> Loss(const StepContext& step) override {
    torch::Tensor total;
    for (size_t h = 0; h < heads_; ++h) {
      std::vector<torch::Tensor> maps;
      for (const Response& response : step.responses) {
        const DecodedRecord& record = response.at(absl::StrCat("hm.", h));
        const auto& shape = record.header.shape();
        maps.push_back(RowsOf(record, static_cast<int64_t>(record.values.size())).view({shape[0], shape[1], shape[2]}));
      }
      const torch::Tensor teacher = ClampedSigmoid(torch::stack(maps).to(DeviceOf(step)));
      const torch::Tensor student = ResizeMap(step.student_probabilities[h], teacher.size(2), teacher.size(3));
      const torch::Tensor everywhere =
          torch::ones({teacher.size(0), teacher.size(2), teacher.size(3)}, teacher.options());
      const torch::Tensor loss = MaskedProbabilityLoss(student, teacher, everywhere, PointLoss::kSquare);
      total = total.defined() ? total + loss : loss;
    }
    return {{"uniform_logits", total * (spec_.weight() / static_cast<double>(heads_))}};
  }

 private:
  const v1::DistillMethod spec_;
  const size_t heads_;
};

class Label : public DistillationMethod {
 public:
  explicit Label(const v1::DistillMethod& spec) {
    options_.thresholds.assign(spec.score_thresh().begin(), spec.score_thresh().end());
  }

  v1::ResponsePlan Plan() const override {
    v1::ResponsePlan plan;
    AddItem(plan, "boxes", v1::SELECTION_OBJECTS, v1::DATA_TYPE_FLOAT32);
    return plan;
  }
  std::vector<LabeledBox> Targets(std::vector<LabeledBox> ground_truth, const Response& response) const override {
    return MergeLabels(ground_truth, DetectionsOf(response.at("boxes")), options_).boxes;
  }
  std::map<std::string, torch::Tensor> Loss(const StepContext&) override { return {}; }

 private:
  LabelMergeOptions options_;
};

// Features of student and teacher are compared in the teacher's channels: a 3x3 convolution on the student's side where
// the counts differ. It belongs to the training only.
class FeatureMethod : public DistillationMethod {
 protected:
  FeatureMethod(const v1::Detector& teacher, const v1::Detector& student) {
    const int64_t in = MapChannels(student), out = MapChannels(teacher);
    if (in != out)
      align_ = register_module("align", torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1)));
  }
  torch::Tensor Aligned(const torch::Tensor& features) {
    return align_.is_empty() ? features : align_->forward(features);
  }

 private:
  torch::nn::Conv2d align_{nullptr};
};

class FeatureRoi : public FeatureMethod {
 public:
  FeatureRoi(const v1::DistillMethod& spec, const v1::Detector& teacher, const v1::Detector& student)
      : FeatureMethod(teacher, student), spec_(spec) {}

  v1::ResponsePlan Plan() const override {
    v1::ResponsePlan plan;
    AddItem(plan, "roi_features", v1::SELECTION_OBJECTS, DataTypeOf(spec_.precision()), 0, spec_.grid_size());
    return plan;
  }
  std::map<std::string, torch::Tensor> Loss(const StepContext& step) override {
    const torch::Tensor student = RotatedGridPool(Aligned(step.student.spatial_features_2d), step.gt_boxes,
                                                  spec_.grid_size(), GeometryOf(step.student_detector));
    if (student.size(0) == 0) return {{"feature_roi", student.sum()}};
    std::vector<torch::Tensor> rows;
    for (const Response& response : step.responses) {
      const DecodedRecord& record = response.at("roi_features");
      rows.push_back(RowsOf(record, student[0].numel()));
    }
    const torch::Tensor teacher = torch::cat(rows).view_as(student).to(student.device());
    return {{"feature_roi", torch::pow(student - teacher, 2).mean() * spec_.weight()}};
  }

 private:
  const v1::DistillMethod spec_;
};

class FeatureForeground : public FeatureMethod {
 public:
  FeatureForeground(const v1::DistillMethod& spec, const v1::Detector& teacher, const v1::Detector& student)
      : FeatureMethod(teacher, student), spec_(spec) {}

  v1::ResponsePlan Plan() const override {
    constexpr uint32_t kAllForeground = 1 << 20;
    v1::ResponsePlan plan;
    AddItem(plan, "spatial_features_2d", v1::SELECTION_PIVOTAL, DataTypeOf(spec_.precision()), kAllForeground);
    return plan;
  }
  std::map<std::string, torch::Tensor> Loss(const StepContext& step) override {
    const std::vector<int64_t> size = MapSize(step.teacher_detector);
    const PivotalRows rows = GatherPivotal(step.responses, "spatial_features_2d", DeviceOf(step));
    const torch::Tensor student = AtCells(ResizeMap(Aligned(step.student.spatial_features_2d), size[0], size[1]), rows);
    const double mass = static_cast<double>(student.size(0) * student.size(1)) + 1e-6;
    return {{"feature_fg", torch::pow(student - rows.values, 2).sum() * (spec_.weight() / mass)}};
  }

 private:
  const v1::DistillMethod spec_;
};

}  // namespace

// Columns of a "boxes" record.
constexpr size_t kBoxColumns = 9, kBoxColumnsWithVelocity = 11;

std::vector<Detection> DetectionsOf(const DecodedRecord& boxes) {
  const size_t columns = boxes.header.shape_size() == 2 ? boxes.header.shape(1) : 0;
  std::vector<Detection> detections;
  if (columns < kBoxColumns) return detections;
  for (size_t i = 0; i + columns <= boxes.values.size(); i += columns) {
    const float* v = &boxes.values[i];
    Detection& detection = detections.emplace_back(Detection{
        .box = {v[0], v[1], v[2], v[3], v[4], v[5], v[6]}, .label = static_cast<int32_t>(v[8]), .score = v[7]});
    if (columns < kBoxColumnsWithVelocity) continue;
    detection.vx = v[9];
    detection.vy = v[10];
  }
  return detections;
}

absl::StatusOr<std::shared_ptr<DistillationMethod>> MakeMethod(const v1::DistillMethod& spec,
                                                               const v1::Detector& teacher,
                                                               const v1::Detector& student) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("distill method \"", spec.method(), "\": ", why));
  };
  if (!std::equal(teacher.class_names().begin(), teacher.class_names().end(), student.class_names().begin(),
                  student.class_names().end()) ||
      NumHeads(teacher) != NumHeads(student)) {
    return refuse("teacher and student must have the same classes and heads");
  }
  if (!std::equal(teacher.point_cloud_range().begin(), teacher.point_cloud_range().end(),
                  student.point_cloud_range().begin())) {
    return refuse("teacher and student must have the same point_cloud_range");
  }
  if (spec.method() != "label" && (teacher.has_anchor_head() || student.has_anchor_head())) {
    return refuse("needs a CenterHead in teacher and student; of models with anchors, use label");
  }
  if (spec.method() == "pivotal_logits") {
    if (spec.reg_weight() > 0 && MapSize(teacher) != MapSize(student)) {
      return refuse("reg_weight needs maps of equal size; set reg_weight: 0 or student.compress.resolution: 1");
    }
    if (spec.reg_weight() > 0 && teacher.dense_head().with_velocity() != student.dense_head().with_velocity()) {
      return refuse("reg_weight needs dense_head.with_velocity alike in teacher and student; set reg_weight: 0");
    }
    return std::make_shared<PivotalLogits>(spec, teacher);
  }
  if (spec.method() == "uniform_logits") return std::make_shared<UniformLogits>(spec, teacher);
  if (spec.method() == "label") {
    if (spec.score_thresh_size() != teacher.class_names_size()) {
      return refuse(absl::StrCat("score_thresh needs one value per class (", teacher.class_names_size(), ")"));
    }
    return std::make_shared<Label>(spec);
  }
  if (spec.method() == "feature_roi") return std::make_shared<FeatureRoi>(spec, teacher, student);
  if (spec.method() == "feature_fg") return std::make_shared<FeatureForeground>(spec, teacher, student);
  return refuse("not known; use pivotal_logits, uniform_logits, label, feature_roi or feature_fg");
}

}  // namespace kd
