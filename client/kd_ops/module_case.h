// What cases of modules share: loading parameters into a module, and its buffers and gradients as results.
#ifndef KD_CLIENT_KD_OPS_MODULE_CASE_H_
#define KD_CLIENT_KD_OPS_MODULE_CASE_H_

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "client/kd_ops/operation.h"

namespace kd {

// Copies the case's parameters into `module`; a name that it lacks is an error.
void LoadParameters(const OperationCase& c, torch::nn::Module& module);

// Under "param.<name>", as AddGradients() wants them.
std::vector<std::pair<std::string, torch::Tensor>> ParametersOf(torch::nn::Module& module);

// Buffers under "out.running.<name>".
void AddRunning(torch::nn::Module& module, TensorMap& results);

template <size_t N>
std::array<float, N> Floats(const nlohmann::json& values) {
  std::array<float, N> out{};
  for (size_t i = 0; i < N; ++i) out[i] = values.at(i).get<float>();
  return out;
}

}  // namespace kd

#endif  // KD_CLIENT_KD_OPS_MODULE_CASE_H_
