#include "client/kd_ops/operation.h"

namespace kd {

const torch::Tensor& OperationCase::in(const std::string& name) const {
  const auto found = inputs.find(name);
  TORCH_CHECK(found != inputs.end(), "input in.", name, " is missing");
  return found->second;
}

void AddGradients(const torch::Tensor& loss, const std::vector<std::pair<std::string, torch::Tensor>>& inputs,
                  TensorMap& results) {
  std::vector<torch::Tensor> tensors;
  for (const auto& [name, tensor] : inputs) tensors.push_back(tensor);
  std::vector<torch::Tensor> gradients(tensors.size());
  if (loss.requires_grad()) gradients = torch::autograd::grad({loss}, tensors, {}, true, false, /*allow_unused=*/true);
  for (size_t i = 0; i < tensors.size(); ++i) {
    results["grad." + inputs[i].first] = gradients[i].defined() ? gradients[i] : torch::zeros_like(tensors[i]);
  }
}

}  // namespace kd
