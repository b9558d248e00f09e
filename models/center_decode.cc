#include <algorithm>

#include "models/center_head.h"

namespace kd {
namespace {

// Rows of `frame` among `candidates` that suppression keeps.
torch::Tensor Suppress(const CenterBoxes& frame, const torch::Tensor& candidates, const NmsOptions& options) {
  return candidates.index_select(
      0, SuppressBoxes(frame.boxes.index_select(0, candidates), frame.scores.index_select(0, candidates), options));
}

torch::Tensor KeptRows(const CenterBoxes& frame, const CenterDecodeOptions& options, size_t num_classes) {
  if (!options.nms_per_class) return Suppress(frame, torch::arange(frame.boxes.size(0)), options.nms);
  std::vector<torch::Tensor> kept;
  for (size_t label = 0; label < num_classes; ++label) {
    kept.push_back(
        Suppress(frame, torch::nonzero(frame.labels == static_cast<int64_t>(label)).squeeze(1), options.nms));
  }
  return torch::cat(kept);
}

}  // namespace

std::vector<CenterBoxes> DecodeCenterHead(const HeadOutputs& head, const CenterDecodeOptions& o) {
  torch::NoGradGuard no_grad;
  const torch::Tensor heatmap = torch::sigmoid(head.at("hm"));
  const int64_t batch = heatmap.size(0), classes = heatmap.size(1), height = heatmap.size(2), width = heatmap.size(3);
  const int64_t per_class = std::min(o.max_obj_per_sample, height * width);
  const auto [class_scores, class_cells] = heatmap.contiguous().view({batch, classes, -1}).topk(per_class);
  const int64_t total = std::min(o.max_obj_per_sample, classes * per_class);
  const auto [scores, ranks] = class_scores.reshape({batch, -1}).topk(total);
  const torch::Tensor labels = torch::floor_divide(ranks, per_class);
  const torch::Tensor cells = class_cells.reshape({batch, -1}).gather(1, ranks);
  const torch::Tensor codes = GatherCells(ConcatRegression(head, o.with_velocity), cells);
  const torch::Tensor iy = torch::floor_divide(cells, width);
  const torch::Tensor ix = cells - iy * width;
  const auto metric = [&](const torch::Tensor& index, int axis) {
    return (index.to(torch::kFloat32) + codes.select(2, axis)) * static_cast<double>(o.stride) * o.voxel_size[axis] +
           o.range[axis];
  };
  std::vector<torch::Tensor> columns = {metric(ix, 0).unsqueeze(2), metric(iy, 1).unsqueeze(2), codes.slice(2, 2, 3),
                                        torch::exp(codes.slice(2, 3, 6)),
                                        torch::atan2(codes.slice(2, 7, 8), codes.slice(2, 6, 7))};
  if (o.with_velocity) columns.push_back(codes.slice(2, 8, 10));
  const torch::Tensor boxes = torch::cat(columns, 2);

  torch::Tensor keep = scores > o.score_thresh;
  if (!o.post_center_limit_range.empty()) {
    const torch::Tensor limit = torch::tensor(o.post_center_limit_range, boxes.options());
    const torch::Tensor centre = boxes.slice(2, 0, 3);
    keep = keep & (centre >= limit.slice(0, 0, 3)).all(2) & (centre <= limit.slice(0, 3, 6)).all(2);
  }
  std::vector<CenterBoxes> frames;
  for (int64_t b = 0; b < batch; ++b) {
    const torch::Tensor rows = torch::nonzero(keep[b]).squeeze(1);
    frames.push_back({.boxes = boxes[b].index_select(0, rows).cpu(),
                      .scores = scores[b].index_select(0, rows).cpu(),
                      .labels = labels[b].index_select(0, rows).cpu()});
  }
  return frames;
}

CenterBoxes JoinHeads(const std::vector<CenterBoxes>& heads, const CenterDecodeOptions& options, bool nms) {
  std::vector<torch::Tensor> boxes, scores, labels;
  for (size_t h = 0; h < heads.size(); ++h) {
    const torch::Tensor rows =
        nms ? KeptRows(heads[h], options, options.heads[h].size()) : torch::arange(heads[h].boxes.size(0));
    const torch::Tensor ids = torch::tensor(options.heads[h], torch::kInt64) + 1;
    boxes.push_back(heads[h].boxes.index_select(0, rows));
    scores.push_back(heads[h].scores.index_select(0, rows));
    labels.push_back(ids.index_select(0, heads[h].labels.index_select(0, rows)));
  }
  return {.boxes = torch::cat(boxes), .scores = torch::cat(scores), .labels = torch::cat(labels)};
}

}  // namespace kd
