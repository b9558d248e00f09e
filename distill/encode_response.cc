#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "distill/feature_loss.h"
#include "distill/map_geometry.h"
#include "distill/method.h"

namespace kd {
namespace {

std::vector<float> ToFloats(const torch::Tensor& tensor) {
  const torch::Tensor dense = tensor.to(torch::kCPU, torch::kFloat32).contiguous();
  return {dense.data_ptr<float>(), dense.data_ptr<float>() + dense.numel()};
}

// Everything that a plan may select from, for one frame.
class FrameEncoder {
 public:
  FrameEncoder(DetectorModelImpl& teacher, const Predictions& predictions, int64_t frame, const Frame& view,
               uint32_t crc)
      : teacher_(teacher), predictions_(predictions), frame_(frame), crc_(crc) {
    boxes_ = BoxTensor({&view});
    if (teacher.config().has_dense_head()) targets_ = AssignTargets(teacher.config(), boxes_);
  }

  absl::StatusOr<std::string> Encode(const v1::ResponsePlan::Item& item) const {
    v1::RecordHeader header;
    header.set_tensor(item.tensor());
    header.set_dtype(item.dtype());
    header.set_selection(item.selection());
    header.set_view_crc32c(crc_);
    if (item.tensor() == "boxes") return EncodeBoxes(std::move(header));
    if (item.tensor() == "roi_features") return EncodeRois(item, std::move(header));
    if (item.tensor() == "spatial_features_2d")
      return EncodeMap(item, predictions_.spatial_features_2d[frame_], 0, std::move(header));
    absl::string_view name = item.tensor();
    size_t head;
    if (absl::ConsumePrefix(&name, "hm.") && absl::SimpleAtoi(name, &head) && head < predictions_.heads.size()) {
      return EncodeMap(item, predictions_.heads[head].at("hm")[frame_], head, std::move(header));
    }
    name = item.tensor();
    if (absl::ConsumePrefix(&name, "reg.") && absl::SimpleAtoi(name, &head) && head < predictions_.heads.size()) {
      return EncodeRegression(head, std::move(header));
    }
    return absl::InvalidArgumentError(absl::StrCat("this teacher has no tensor \"", item.tensor(), "\""));
  }

 private:
  absl::StatusOr<std::string> EncodeMap(const v1::ResponsePlan::Item& item, const torch::Tensor& map, size_t head,
                                        v1::RecordHeader header) const {
    for (const int64_t extent : map.sizes()) header.add_shape(static_cast<uint32_t>(extent));
    if (item.selection() == v1::SELECTION_ALL) return EncodeRecord(std::move(header), {}, ToFloats(map));
    if (item.selection() != v1::SELECTION_PIVOTAL || predictions_.heads.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", item.tensor(), "\" can be sent whole or at pivotal cells"));
    }
    header.set_top_k(item.top_k());
    const torch::Tensor probability =
        std::get<0>(torch::sigmoid(predictions_.heads[head].at("hm")[frame_]).max(0)).flatten();
    const torch::Tensor weight = probability.cpu() * std::get<0>(targets_[head].heatmaps[0].max(0)).flatten();
    const auto [best, cells] = weight.topk(std::min<int64_t>(item.top_k(), weight.size(0)));
    const torch::Tensor chosen = std::get<0>(cells.index({best > 0}).sort());
    std::vector<uint32_t> indices(chosen.size(0));
    for (size_t i = 0; i < indices.size(); ++i) indices[i] = static_cast<uint32_t>(chosen.data_ptr<int64_t>()[i]);
    const torch::Tensor rows = map.flatten(1).index_select(1, chosen.to(map.device())).transpose(0, 1);
    return EncodeRecord(std::move(header), indices, ToFloats(rows));
  }

  absl::StatusOr<std::string> EncodeRegression(size_t head, v1::RecordHeader header) const {
    const torch::Tensor map = RegressionMap(teacher_.config(), predictions_.heads[head])[frame_].flatten(1);
    const torch::Tensor rows = torch::nonzero(targets_[head].masks[0]).squeeze(1);
    const torch::Tensor cells = targets_[head].inds[0].index_select(0, rows).to(map.device());
    header.add_shape(static_cast<uint32_t>(rows.size(0)));
    header.add_shape(static_cast<uint32_t>(map.size(0)));
    return EncodeRecord(std::move(header), {}, ToFloats(map.index_select(1, cells).transpose(0, 1)));
  }

  absl::StatusOr<std::string> EncodeBoxes(v1::RecordHeader header) const {
    Predictions one{.anchors = predictions_.anchors.Frame(frame_),
                    .proposals = predictions_.proposals.Frame(frame_),
                    .refinement = predictions_.refinement.Frame(frame_)};
    for (const HeadOutputs& head : predictions_.heads) {
      HeadOutputs& outputs = one.heads.emplace_back();
      for (const auto& [name, map] : head) outputs[name] = map.slice(0, frame_, frame_ + 1);
    }
    const bool with_velocity = teacher_.config().dense_head().with_velocity();
    std::vector<float> rows;
    const std::vector<Detection> detections = teacher_.Decode(one, /*nms=*/false)[0];
    for (const Detection& d : detections) {
      rows.insert(rows.end(), {d.box.x, d.box.y, d.box.z, d.box.dx, d.box.dy, d.box.dz, d.box.yaw, d.score,
                               static_cast<float>(d.label)});
      if (with_velocity) rows.insert(rows.end(), {d.vx, d.vy});
    }
    header.add_shape(static_cast<uint32_t>(detections.size()));
    header.add_shape(with_velocity ? 11 : 9);
    return EncodeRecord(std::move(header), {}, rows);
  }

  absl::StatusOr<std::string> EncodeRois(const v1::ResponsePlan::Item& item, v1::RecordHeader header) const {
    const torch::Tensor map = predictions_.spatial_features_2d.slice(0, frame_, frame_ + 1);
    const torch::Tensor pooled = RotatedGridPool(map, boxes_, item.grid_size(), GeometryOf(teacher_.config()));
    for (const int64_t extent : pooled.sizes()) header.add_shape(static_cast<uint32_t>(extent));
    return EncodeRecord(std::move(header), {}, ToFloats(pooled));
  }

  DetectorModelImpl& teacher_;
  const Predictions& predictions_;
  const int64_t frame_;
  const uint32_t crc_;
  torch::Tensor boxes_;
  std::vector<HeadTargets> targets_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> EncodeResponse(const v1::ResponsePlan& plan, DetectorModelImpl& teacher,
                                                        const Predictions& predictions, int64_t frame_in_batch,
                                                        const Frame& view, uint32_t view_crc32c) {
  torch::NoGradGuard no_grad;
  const FrameEncoder encoder(teacher, predictions, frame_in_batch, view, view_crc32c);
  std::vector<std::string> records;
  for (const v1::ResponsePlan::Item& item : plan.items()) {
    KD_ASSIGN_OR_RETURN(records.emplace_back(), encoder.Encode(item));
  }
  return records;
}

}  // namespace kd
