#include "distill/logit_loss.h"

namespace kd {
namespace {

// Flat (class, cell) index of the K best pairs per frame: K best per class first, then over classes. B x K.
torch::Tensor TopPairs(const torch::Tensor& probability, int64_t k) {
  const int64_t batch = probability.size(0), classes = probability.size(1);
  const int64_t cells = probability.size(2) * probability.size(3);
  const int64_t per_class = std::min(k, cells);
  const auto [class_scores, class_cells] = probability.reshape({batch, classes, cells}).topk(per_class);
  const auto [scores, ranks] = class_scores.reshape({batch, -1}).topk(std::min(k, classes * per_class));
  const torch::Tensor cell = class_cells.reshape({batch, -1}).gather(1, ranks);
  return torch::floor_divide(ranks, per_class) * cells + cell;
}

}  // namespace

torch::Tensor MaskedProbabilityLoss(const torch::Tensor& student, const torch::Tensor& teacher,
                                    const torch::Tensor& mask, PointLoss loss) {
  const torch::Tensor error = loss == PointLoss::kSquare
                                  ? torch::pow(student - teacher, 2)
                                  : torch::smooth_l1_loss(student, teacher, at::Reduction::None, 1.0);
  return (error * mask.unsqueeze(1)).sum() / (mask.sum() + 1e-6);
}

std::vector<torch::Tensor> PositionMasks(const std::vector<torch::Tensor>& teacher_probabilities,
                                         const std::vector<torch::Tensor>& gaussians, const PositionMask& options) {
  torch::NoGradGuard no_grad;
  torch::Tensor ranked;
  if (options.rank >= 0) {
    for (const torch::Tensor& p : teacher_probabilities) {
      const int64_t cells = p.size(2) * p.size(3);
      if (!ranked.defined()) ranked = torch::zeros({p.size(0), cells}, p.options());
      ranked.scatter_(1, TopPairs(p, options.rank).remainder(cells), 1.0);
    }
  }
  std::vector<torch::Tensor> masks;
  for (size_t h = 0; h < teacher_probabilities.size(); ++h) {
    const torch::Tensor& p = teacher_probabilities[h];
    const torch::Tensor best = std::get<0>(p.max(1));
    torch::Tensor mask = (best > options.threshold).to(p.dtype());
    if (options.soft) mask = mask * best;
    if (options.foreground) {
      mask = mask * (options.soft ? std::get<0>(gaussians[h].max(1)) : (gaussians[h].sum(1) > 0).to(p.dtype()));
    }
    if (ranked.defined()) mask = mask * ranked.view_as(mask);
    masks.push_back(mask);
  }
  return masks;
}

torch::Tensor ResizeMap(const torch::Tensor& map, int64_t height, int64_t width) {
  if (map.size(2) == height && map.size(3) == width) return map;
  return torch::upsample_bilinear2d(map, torch::IntArrayRef{height, width}, /*align_corners=*/false);
}

torch::Tensor SoftTargetFocalLoss(const torch::Tensor& probability, const torch::Tensor& target,
                                  double positive_threshold) {
  const torch::Tensor positive = (target >= positive_threshold).to(probability.dtype());
  const torch::Tensor positive_loss = (torch::log(probability) * torch::pow(1 - probability, 2) * positive).sum();
  const torch::Tensor negative_loss =
      (torch::log(1 - probability) * torch::pow(probability, 2) * torch::pow(1 - target, 4) * (1 - positive)).sum();
  const torch::Tensor count = positive.sum();
  return torch::where(count > 0, -(positive_loss + negative_loss) / count.clamp_min(1), -negative_loss);
}

torch::Tensor RankLoss(const torch::Tensor& student, const torch::Tensor& teacher, int64_t rank) {
  const torch::Tensor pairs = TopPairs(teacher, rank);
  const auto distribution = [&](const torch::Tensor& map) {
    const torch::Tensor values = map.reshape({map.size(0), -1}).gather(1, pairs);
    return values / (values.sum(1, /*keepdim=*/true) + 1e-6);
  };
  return -(distribution(teacher) * torch::log(distribution(student))).mean();
}

}  // namespace kd
