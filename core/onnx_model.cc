#include "core/onnx_model.h"

#include <cstring>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/version.h"
#include "onnx/onnx_pb.h"

namespace kd {
namespace {

// The one that belongs to the operators.
constexpr int64_t kIrVersion = 7;

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// Writes one graph. Names of helper values are the node's output and a suffix behind '/', which no name of ours
// contains.
class OnnxWriter {
 public:
  OnnxWriter(const NetworkGraph& graph, onnx::GraphProto& out) : graph_(graph), out_(out) {}

  absl::Status Write() {
    for (const GraphTensor& input : graph_.inputs) Describe(input, *out_.add_input());
    for (const auto& [name, weight] : graph_.weights) weights_left_.insert(name);
    for (const GraphNode& node : graph_.nodes) KD_RETURN_IF_ERROR(WriteNode(node));
    for (const std::string& name : graph_.outputs) {
      const GraphTensor* const tensor = graph_.Find(name);
      if (tensor == nullptr)
        return absl::InvalidArgumentError(absl::StrCat("graph: no node makes the output \"", name, "\""));
      Describe(*tensor, *out_.add_output());
    }
    return absl::OkStatus();
  }

 private:
  void Describe(const GraphTensor& tensor, onnx::ValueInfoProto& info) const {
    info.set_name(tensor.name);
    auto* const type = info.mutable_type()->mutable_tensor_type();
    type->set_elem_type(tensor.dtype == "I32" ? onnx::TensorProto::INT32 : onnx::TensorProto::FLOAT);
    for (const int64_t extent : tensor.shape) {
      auto* const dimension = type->mutable_shape()->add_dim();
      if (extent < 0) dimension->set_dim_param(tensor.rows);
      if (extent >= 0) dimension->set_dim_value(extent);
    }
  }

  void AddTensor(const std::string& name, onnx::TensorProto::DataType type, const std::vector<int64_t>& shape,
                 std::string bytes) {
    onnx::TensorProto& tensor = *out_.add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(type);
    for (const int64_t extent : shape) tensor.add_dims(extent);
    tensor.set_raw_data(std::move(bytes));
  }

  std::string Integers(const std::string& name, const std::vector<int64_t>& values) {
    AddTensor(name, onnx::TensorProto::INT64, {static_cast<int64_t>(values.size())}, Bytes(values));
    return name;
  }

  std::string Floats(const std::string& name, const std::vector<float>& values) {
    AddTensor(name, onnx::TensorProto::FLOAT, {static_cast<int64_t>(values.size())}, Bytes(values));
    return name;
  }

  // A weight of the graph, once.
  std::string Weight(const std::string& name) {
    if (weights_left_.erase(name) > 0) {
      const SafeTensor& tensor = graph_.weights.at(name);
      AddTensor(name, onnx::TensorProto::FLOAT, tensor.shape, tensor.bytes);
    }
    return name;
  }

  using Attributes = std::map<std::string, std::vector<int64_t>>;

  // Adds an operator with one output, whose name it returns. `scalars` are attributes of one integer.
  std::string Op(const char* type, const std::vector<std::string>& inputs, const std::string& output,
                 const Attributes& lists = {}, const std::map<std::string, int64_t>& scalars = {}) {
    onnx::NodeProto& node = *out_.add_node();
    node.set_op_type(type);
    node.set_name(output);
    for (const std::string& input : inputs) node.add_input(input);
    node.add_output(output);
    for (const auto& [name, values] : lists) {
      onnx::AttributeProto& attribute = *node.add_attribute();
      attribute.set_name(name);
      attribute.set_type(onnx::AttributeProto::INTS);
      for (const int64_t value : values) attribute.add_ints(value);
    }
    for (const auto& [name, value] : scalars) {
      onnx::AttributeProto& attribute = *node.add_attribute();
      attribute.set_name(name);
      attribute.set_type(onnx::AttributeProto::INT);
      attribute.set_i(value);
    }
    return output;
  }

  std::string Cast(const std::string& input, const std::string& output, onnx::TensorProto::DataType to) {
    return Op("Cast", {input}, output, {}, {{"to", to}});
  }

  std::string Unsqueeze(const std::string& input, const std::string& output, const std::vector<int64_t>& axes) {
    return Op("Unsqueeze", {input, Integers(output + "_axes", axes)}, output);
  }

  // The name that the operator before a rectifier writes to.
  static std::string Raw(const GraphNode& node) { return node.relu ? node.output.name + "/raw" : node.output.name; }
  void Rectify(const GraphNode& node) {
    if (node.relu) Op("Relu", {Raw(node)}, node.output.name);
  }

  absl::Status WriteNode(const GraphNode& node) {
    for (const std::string& input : node.inputs) {
      if (graph_.Find(input) == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("graph: nothing makes \"", input, "\", which ", node.output.name, " reads"));
      }
    }
    for (const std::string& weight : {node.weight, node.bias}) {
      if (!weight.empty() && graph_.weights.count(weight) == 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("graph: no weight \"", weight, "\", which ", node.output.name, " names"));
      }
    }
    const std::string& out = node.output.name;
    switch (node.op) {
      case GraphOp::kPillarPoints: WritePillarPoints(node); break;
      case GraphOp::kLinear: WriteLinear(node); break;
      case GraphOp::kAppendMax: {
        const std::string maximum =
            Op("ReduceMax", {node.inputs[0]}, out + "/maximum", {{"axes", {1}}}, {{"keepdims", 1}});
        const std::string shape = Op("Shape", {node.inputs[0]}, out + "/shape");
        Op("Concat", {node.inputs[0], Op("Expand", {maximum, shape}, out + "/repeated")}, out, {}, {{"axis", 2}});
        break;
      }
      case GraphOp::kMaxPoints: Op("ReduceMax", {node.inputs[0]}, out, {{"axes", {1}}}, {{"keepdims", 0}}); break;
      case GraphOp::kScatter: WriteScatter(node); break;
      case GraphOp::kConv2d: WriteConvolution("Conv", node); break;
      case GraphOp::kConvTranspose2d: WriteConvolution("ConvTranspose", node); break;
      case GraphOp::kConcat: Op("Concat", node.inputs, out, {}, {{"axis", 1}}); break;
      case GraphOp::kChannelsLast: Op("Transpose", node.inputs, out, {{"perm", {0, 2, 3, 1}}}); break;
      default:
        return absl::InvalidArgumentError(absl::StrCat("ONNX cannot express ", GraphOpName(node.op), " (", out,
                                                       "): it has no sparse 3D convolutions"));
    }
    return absl::OkStatus();
  }

  // The columns of the points, the offsets to the mean and to the centre of the pillar[, the distance]; zero in slots
  // without a point.
  void WritePillarPoints(const GraphNode& node) {
    const std::string& voxels = node.inputs[0];
    const std::string& num_points = node.inputs[1];
    const std::string& coords = node.inputs[2];
    const std::string at = node.output.name + "/";
    const int64_t slots = node.output.shape[1];
    const std::string xyz =
        Op("Slice", {voxels, Integers(at + "first", {0}), Integers(at + "end", {3}), Integers(at + "columns", {2})},
           at + "xyz");
    const std::string sum = Op("ReduceSum", {xyz, Integers(at + "slot_axis", {1})}, at + "sum", {}, {{"keepdims", 1}});
    const std::string count =
        Unsqueeze(Cast(num_points, at + "float_count", onnx::TensorProto::FLOAT), at + "count", {1, 2});
    const std::string to_mean = Op("Sub", {xyz, Op("Div", {sum, count}, at + "mean")}, at + "to_mean");
    const std::string cell =
        Op("Gather", {coords, Integers(at + "xyz_columns", {3, 2, 1})}, at + "cell", {}, {{"axis", 1}});
    const std::string scaled =
        Op("Mul", {Cast(cell, at + "float_cell", onnx::TensorProto::FLOAT), Floats(at + "voxel_size", node.voxel_size)},
           at + "scaled_cell");
    const std::string centre = Unsqueeze(
        Op("Add", {scaled, Floats(at + "first_centre", node.first_centre)}, at + "flat_centre"), at + "centre", {1});
    std::vector<std::string> columns = {voxels, to_mean, Op("Sub", {xyz, centre}, at + "to_centre")};
    if (node.with_distance)
      columns.push_back(Op("ReduceL2", {xyz}, at + "distance", {{"axes", {2}}}, {{"keepdims", 1}}));
    const std::string all = Op("Concat", columns, at + "all", {}, {{"axis", 2}});
    std::vector<int32_t> numbers(static_cast<size_t>(slots));
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<int32_t>(i);
    AddTensor(at + "slots", onnx::TensorProto::INT32, {1, slots}, Bytes(numbers));
    const std::string used = Op("Less", {at + "slots", Unsqueeze(num_points, at + "count_column", {1})}, at + "used");
    const std::string mask = Unsqueeze(Cast(used, at + "float_used", onnx::TensorProto::FLOAT), at + "mask", {2});
    Op("Mul", {all, mask}, node.output.name);
  }

  void WriteLinear(const GraphNode& node) {
    // Turned here, so that no runtime has to.
    const SafeTensor& weight = graph_.weights.at(node.weight);
    const size_t outputs = static_cast<size_t>(weight.shape[0]), inputs = static_cast<size_t>(weight.shape[1]);
    std::string turned(weight.bytes.size(), '\0');
    for (size_t o = 0; o < outputs; ++o) {
      for (size_t i = 0; i < inputs; ++i) {
        std::memcpy(&turned[(i * outputs + o) * sizeof(float)], &weight.bytes[(o * inputs + i) * sizeof(float)],
                    sizeof(float));
      }
    }
    const std::string transposed = node.weight + "/transposed";
    AddTensor(transposed, onnx::TensorProto::FLOAT, {weight.shape[1], weight.shape[0]}, std::move(turned));
    const std::string product = Op("MatMul", {node.inputs[0], transposed}, node.output.name + "/product");
    Op("Add", {product, Weight(node.bias)}, Raw(node));
    Rectify(node);
  }

  void WriteScatter(const GraphNode& node) {
    const std::string at = node.output.name + "/";
    const std::vector<int64_t>& shape = node.output.shape;
    const std::string canvas =
        Op("ConstantOfShape", {Integers(at + "canvas_shape", {shape[2], shape[3], shape[1]})}, at + "canvas");
    const std::string cell =
        Op("Gather", {node.inputs[1], Integers(at + "yx_columns", {2, 3})}, at + "cell", {}, {{"axis", 1}});
    const std::string filled =
        Op("ScatterND", {canvas, Cast(cell, at + "indices", onnx::TensorProto::INT64), node.inputs[0]}, at + "filled");
    const std::string channels_first = Op("Transpose", {filled}, at + "channels_first", {{"perm", {2, 0, 1}}});
    Unsqueeze(channels_first, node.output.name, {0});
  }

  void WriteConvolution(const char* type, const GraphNode& node) {
    std::vector<std::string> inputs = {node.inputs[0], Weight(node.weight)};
    if (!node.bias.empty()) inputs.push_back(Weight(node.bias));
    // Before and after the map, along y and x.
    std::vector<int64_t> pads = node.padding;
    pads.insert(pads.end(), node.padding.begin(), node.padding.end());
    Op(type, inputs, Raw(node), {{"kernel_shape", node.kernel}, {"strides", node.stride}, {"pads", pads}});
    Rectify(node);
  }

  const NetworkGraph& graph_;
  onnx::GraphProto& out_;
  std::set<std::string> weights_left_;
};

}  // namespace

absl::StatusOr<std::string> OnnxModel(const NetworkGraph& graph, const std::map<std::string, std::string>& metadata) {
  onnx::ModelProto model;
  model.set_ir_version(kIrVersion);
  model.set_producer_name("kdfleet");
  model.set_producer_version(kVersion);
  model.add_opset_import()->set_version(kOnnxOpset);
  for (const auto& [key, value] : metadata) {
    onnx::StringStringEntryProto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }
  model.mutable_graph()->set_name("detector");
  KD_RETURN_IF_ERROR(OnnxWriter(graph, *model.mutable_graph()).Write());
  if (model.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model takes ", model.ByteSizeLong(), " bytes; one ONNX file holds 2 GB at most"));
  }
  return model.SerializeAsString();
}

}  // namespace kd
