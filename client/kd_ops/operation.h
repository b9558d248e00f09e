// Named operations on tensors, so that anybody can compare our numbers with another implementation's.
#ifndef KD_CLIENT_KD_OPS_OPERATION_H_
#define KD_CLIENT_KD_OPS_OPERATION_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"
#include "torch/torch.h"

namespace kd {

using TensorMap = std::map<std::string, torch::Tensor>;

// A case: NAME.json and NAME.safetensors.
struct OperationCase {
  std::string name;
  std::string op;
  // The whole NAME.json.
  nlohmann::json document;
  // Hyper-parameters under the names of the original configuration.
  nlohmann::json hyper;
  // Inputs without their prefix: "in." and "param.".
  TensorMap inputs, parameters;
  // Shapes of the results that are wanted, by name: "out.*" and "grad.*".
  std::map<std::string, std::vector<int64_t>> wanted;

  // The input of that name. Throws c10::Error naming it when it is absent; kd-ops reports that as the case's error.
  const torch::Tensor& in(const std::string& name) const;
  bool has(const std::string& name) const { return inputs.count(name) > 0; }
  bool wants(const std::string& name) const { return wanted.count(name) > 0; }
};

// Results under their full names ("out.loss", "grad.feature"). An undefined tensor says that the value is not
// comparable.
using Operation = std::function<TensorMap(const OperationCase&)>;
using OperationTable = std::map<std::string, Operation>;

void AddModelOperations(OperationTable& table);
void AddMathOperations(OperationTable& table);
void AddDataOperations(OperationTable& table);
void AddDetectorOperations(OperationTable& table);
void AddManifestOperations(OperationTable& table);
void AddSparseOperations(OperationTable& table);
void AddSparseKdOperations(OperationTable& table);

// Gradients of `loss` with respect to `inputs`, under "grad.<name>"; zeros where it does not depend on them.
void AddGradients(const torch::Tensor& loss, const std::vector<std::pair<std::string, torch::Tensor>>& inputs,
                  TensorMap& results);

}  // namespace kd

#endif  // KD_CLIENT_KD_OPS_OPERATION_H_
