#include "models/center_head.h"

namespace kd {

torch::Tensor ClampedSigmoid(const torch::Tensor& logits) { return torch::sigmoid(logits).clamp(1e-4, 1 - 1e-4); }

torch::Tensor HeatmapFocalLoss(const torch::Tensor& probability, const torch::Tensor& target) {
  const torch::Tensor positive = (target == 1).to(probability.dtype());
  const torch::Tensor negative = (target < 1).to(probability.dtype());
  const torch::Tensor positive_loss = (torch::log(probability) * torch::pow(1 - probability, 2) * positive).sum();
  const torch::Tensor negative_loss =
      (torch::log(1 - probability) * torch::pow(probability, 2) * torch::pow(1 - target, 4) * negative).sum();
  const torch::Tensor count = positive.sum();
  return torch::where(count > 0, -(positive_loss + negative_loss) / count.clamp_min(1), -negative_loss);
}

torch::Tensor ConcatRegression(const HeadOutputs& head, bool with_velocity) {
  std::vector<torch::Tensor> maps;
  for (const std::string& name : RegressionBranches(with_velocity)) maps.push_back(head.at(name));
  return torch::cat(maps, 1);
}

torch::Tensor GatherCells(const torch::Tensor& map, const torch::Tensor& inds) {
  const torch::Tensor cells = map.flatten(2).permute({0, 2, 1});  // B x HW x codes
  return cells.gather(1, inds.unsqueeze(2).expand({-1, -1, cells.size(2)}));
}

torch::Tensor RegressionL1(const torch::Tensor& prediction, const torch::Tensor& target, const torch::Tensor& masks) {
  const torch::Tensor valid = masks.to(prediction.dtype()).unsqueeze(2);
  const torch::Tensor known = torch::logical_not(torch::isnan(target));
  const torch::Tensor safe = torch::where(known, target, torch::zeros_like(target));
  const torch::Tensor error = torch::abs(prediction - safe) * valid * known.to(prediction.dtype());
  return error.sum(torch::IntArrayRef{0, 1}) / masks.sum().to(prediction.dtype()).clamp_min(1);
}

}  // namespace kd
