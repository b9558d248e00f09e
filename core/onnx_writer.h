// Adds operators and constants to an ONNX graph. No torch.
#ifndef KD_CORE_ONNX_WRITER_H_
#define KD_CORE_ONNX_WRITER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/network_graph.h"
#include "onnx/onnx_pb.h"

namespace kd {

// Functions that add return the name of what they added, which the caller chose. Names of helper values are those of a
// node's output and a suffix behind '/', which no name of the network's contains.
class OnnxWriter {
 public:
  // Both outlive this.
  OnnxWriter(const NetworkGraph& graph, onnx::GraphProto& out) : graph_(graph), out_(out) {}

  void AddInput(const GraphTensor& tensor) { Describe(tensor, *out_.add_input()); }
  void AddOutput(const GraphTensor& tensor) { Describe(tensor, *out_.add_output()); }

  // A weight of the graph as it is; one that several operators read stands in the model once.
  std::string Weight(const std::string& name);
  // A matrix of the graph with its axes exchanged, under `output`.
  std::string Transposed(const std::string& name, const std::string& output);

  // Constants. `int32s` of shape 1 x N, the others N.
  std::string Int32Row(const std::string& name, const std::vector<int32_t>& int32s);
  std::string Integers(const std::string& name, const std::vector<int64_t>& values);
  std::string Floats(const std::string& name, const std::vector<float>& values);

  using Lists = std::map<std::string, std::vector<int64_t>>;
  using Scalars = std::map<std::string, int64_t>;

  // An operator with one output; attributes are lists of integers and single ones.
  std::string Op(const char* type, const std::vector<std::string>& inputs, const std::string& output,
                 const Lists& lists = {}, const Scalars& scalars = {});
  std::string Cast(const std::string& input, const std::string& output, onnx::TensorProto::DataType to);
  std::string Unsqueeze(const std::string& input, const std::string& output, const std::vector<int64_t>& axes);

 private:
  static void Describe(const GraphTensor& tensor, onnx::ValueInfoProto& info);
  void AddTensor(const std::string& name, onnx::TensorProto::DataType type, const std::vector<int64_t>& shape,
                 std::string bytes);

  const NetworkGraph& graph_;
  onnx::GraphProto& out_;
  std::set<std::string> written_weights_;
};

}  // namespace kd

#endif  // KD_CORE_ONNX_WRITER_H_
