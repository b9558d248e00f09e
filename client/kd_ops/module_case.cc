#include "client/kd_ops/module_case.h"

namespace kd {

void LoadParameters(const OperationCase& c, torch::nn::Module& module) {
  torch::NoGradGuard no_grad;
  size_t used = 0;
  const auto copy = [&](const std::string& name, torch::Tensor target) {
    const auto found = c.parameters.find(name);
    if (found == c.parameters.end()) return;
    TORCH_CHECK(found->second.sizes() == target.sizes(), "param.", name, " has another shape than the module");
    target.copy_(found->second);
    ++used;
  };
  for (const auto& item : module.named_parameters()) copy(item.key(), item.value());
  for (const auto& item : module.named_buffers()) copy(item.key(), item.value());
  TORCH_CHECK(used == c.parameters.size(), "the module took ", used, " of ", c.parameters.size(), " parameters");
}

std::vector<std::pair<std::string, torch::Tensor>> ParametersOf(torch::nn::Module& module) {
  std::vector<std::pair<std::string, torch::Tensor>> parameters;
  for (const auto& item : module.named_parameters()) parameters.emplace_back("param." + item.key(), item.value());
  return parameters;
}

void AddRunning(torch::nn::Module& module, TensorMap& results) {
  for (const auto& item : module.named_buffers()) results["out.running." + item.key()] = item.value().clone();
}

}  // namespace kd
