#include "models/two_stage.h"

namespace kd {

using torch::Tensor;

namespace {
Tensor OneFrame(const Tensor& all, int64_t frame) { return all.defined() ? all.slice(0, frame, frame + 1) : all; }
}  // namespace

Proposals Proposals::Frame(int64_t frame) const { return {OneFrame(boxes, frame), OneFrame(labels, frame)}; }
Refinement Refinement::Frame(int64_t frame) const { return {OneFrame(cls, frame), OneFrame(reg, frame)}; }

Proposals ProposeBoxes(const Tensor& boxes, const Tensor& logits, const NmsOptions& options) {
  torch::NoGradGuard no_grad;
  const int64_t batch = boxes.size(0), most = options.post_max;
  Proposals proposals{.boxes = torch::zeros({batch, most, 7}), .labels = torch::zeros({batch, most}, torch::kInt64)};
  for (int64_t b = 0; b < batch; ++b) {
    const auto [scores, classes] = logits[b].cpu().max(1);
    const Tensor of_frame = boxes[b].cpu(), kept = SuppressBoxes(of_frame, scores, options);
    proposals.boxes[b].slice(0, 0, kept.size(0)).copy_(of_frame.index_select(0, kept));
    proposals.labels[b].slice(0, 0, kept.size(0)).copy_(classes.index_select(0, kept) + 1);
  }
  return {.boxes = proposals.boxes.to(boxes.device()), .labels = proposals.labels.to(boxes.device())};
}

Tensor ApplyRefinement(const Tensor& proposals, const Tensor& codes) {
  const auto p = [&](int64_t i) { return proposals.select(2, i); };
  const auto c = [&](int64_t i) { return codes.select(2, i); };
  const Tensor diagonal = torch::sqrt(p(3) * p(3) + p(4) * p(4));
  // In the proposal's own frame its centre and yaw are 0.
  const Tensor x = c(0) * diagonal, y = c(1) * diagonal, cos = torch::cos(p(6)), sin = torch::sin(p(6));
  return torch::stack({x * cos - y * sin + p(0), x * sin + y * cos + p(1), c(2) * p(5) + p(2), torch::exp(c(3)) * p(3),
                       torch::exp(c(4)) * p(4), torch::exp(c(5)) * p(5), c(6) + p(6)},
                      2);
}

Tensor BoxGridPoints(const Tensor& boxes, int64_t grid_size) {
  const Tensor steps = (torch::arange(grid_size, boxes.options()) + 0.5) / grid_size;
  const auto axes = torch::meshgrid({steps, steps, steps}, "ij");
  const Tensor unit = torch::stack({axes[0].flatten(), axes[1].flatten(), axes[2].flatten()}, 1);  // G^3 x 3
  const Tensor local = (unit.unsqueeze(0) - 0.5) * boxes.slice(1, 3, 6).unsqueeze(1);
  const Tensor cos = torch::cos(boxes.slice(1, 6, 7)), sin = torch::sin(boxes.slice(1, 6, 7));
  const Tensor x = local.select(2, 0), y = local.select(2, 1);
  return torch::stack({x * cos - y * sin, x * sin + y * cos, local.select(2, 2)}, 2) +
         boxes.slice(1, 0, 3).unsqueeze(1);
}

}  // namespace kd
