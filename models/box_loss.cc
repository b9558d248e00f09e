#include "models/box_loss.h"

namespace kd {

torch::Tensor SigmoidFocalLoss(const torch::Tensor& logits, const torch::Tensor& targets, double alpha, double gamma) {
  const torch::Tensor p = torch::sigmoid(logits);
  const torch::Tensor focal =
      torch::pow(targets * (1 - p) + (1 - targets) * p, gamma) * (targets * alpha + (1 - targets) * (1 - alpha));
  return focal * (torch::clamp_min(logits, 0) - logits * targets + torch::log1p(torch::exp(-torch::abs(logits))));
}

torch::Tensor WeightedSmoothL1(const torch::Tensor& input, const torch::Tensor& target, double beta,
                               const std::vector<float>& code_weights) {
  const torch::Tensor missing = torch::isnan(target);
  torch::Tensor difference =
      torch::where(missing, torch::zeros_like(input), input - torch::where(missing, input.detach(), target));
  if (!code_weights.empty())
    difference = difference * torch::tensor(code_weights, input.options().requires_grad(false));
  const torch::Tensor n = torch::abs(difference);
  return beta < 1e-5 ? n : torch::where(n < beta, 0.5 * n * n / beta, n - 0.5 * beta);
}

}  // namespace kd
