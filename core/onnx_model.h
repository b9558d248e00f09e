// A network graph as an ONNX model. No torch.
#ifndef KD_CORE_ONNX_MODEL_H_
#define KD_CORE_ONNX_MODEL_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "core/network_graph.h"

namespace kd {

// Operators of this version only, which every runtime in use knows. Its ScatterND has no reduction that a runtime could
// drop; indices are unique, as voxels are.
inline constexpr int64_t kOnnxOpset = 13;

// The bytes of a ModelProto with `metadata` as its metadata_props. The same graph gives the same bytes. Inputs, outputs
// and weights keep the graph's names; the number of voxels is the only dimension that is not fixed, "V".
// INVALID_ARGUMENT: an operation that ONNX cannot express, or a tensor that no node makes (both named); more than 2 GB.
absl::StatusOr<std::string> OnnxModel(const NetworkGraph& graph, const std::map<std::string, std::string>& metadata);

}  // namespace kd

#endif  // KD_CORE_ONNX_MODEL_H_
