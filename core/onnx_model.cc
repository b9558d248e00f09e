#include "core/onnx_model.h"

#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/version.h"
#include "core/onnx_writer.h"

namespace kd {
namespace {

constexpr auto kFloat = onnx::TensorProto::FLOAT;

// The one that belongs to the operators.
constexpr int64_t kIrVersion = 7;

// The name that the operator before a rectifier writes to.
std::string Raw(const GraphNode& node) { return node.relu ? node.output.name + "/raw" : node.output.name; }

void Rectify(OnnxWriter& writer, const GraphNode& node) {
  if (node.relu) writer.Op("Relu", {Raw(node)}, node.output.name);
}

// The columns of the points, the offsets to the mean and to the centre of the pillar[, the distance]; zero in slots
// without a point.
void WritePillarPoints(OnnxWriter& writer, const GraphNode& node) {
  const std::string& voxels = node.inputs[0];
  const std::string& num_points = node.inputs[1];
  const std::string& coords = node.inputs[2];
  const std::string at = node.output.name + "/";
  const std::string xyz = writer.Op("Slice",
                                    {voxels, writer.Integers(at + "first", {0}), writer.Integers(at + "end", {3}),
                                     writer.Integers(at + "columns", {2})},
                                    at + "xyz");
  const std::string sum =
      writer.Op("ReduceSum", {xyz, writer.Integers(at + "slot_axis", {1})}, at + "sum", {}, {{"keepdims", 1}});
  const std::string count = writer.Unsqueeze(writer.Cast(num_points, at + "float_count", kFloat), at + "count", {1, 2});
  const std::string to_mean = writer.Op("Sub", {xyz, writer.Op("Div", {sum, count}, at + "mean")}, at + "to_mean");
  const std::string cell =
      writer.Op("Gather", {coords, writer.Integers(at + "xyz_columns", {3, 2, 1})}, at + "cell", {}, {{"axis", 1}});
  const std::string scaled = writer.Op(
      "Mul", {writer.Cast(cell, at + "float_cell", kFloat), writer.Floats(at + "voxel_size", node.voxel_size)},
      at + "scaled_cell");
  const std::string centre = writer.Unsqueeze(
      writer.Op("Add", {scaled, writer.Floats(at + "first_centre", node.first_centre)}, at + "flat_centre"),
      at + "centre", {1});
  const std::string raw = node.use_absolute_xyz
                              ? voxels
                              : writer.Op("Slice",
                                          {voxels, writer.Integers(at + "rest_first", {3}),
                                           writer.Integers(at + "rest_end", {std::numeric_limits<int32_t>::max()}),
                                           writer.Integers(at + "rest_columns", {2})},
                                          at + "rest");
  std::vector<std::string> columns = {raw, to_mean, writer.Op("Sub", {xyz, centre}, at + "to_centre")};
  if (node.with_distance)
    columns.push_back(writer.Op("ReduceL2", {xyz}, at + "distance", {{"axes", {2}}}, {{"keepdims", 1}}));
  const std::string all = writer.Op("Concat", columns, at + "all", {}, {{"axis", 2}});
  std::vector<int32_t> slots(static_cast<size_t>(node.output.shape[1]));
  std::iota(slots.begin(), slots.end(), 0);
  const std::string used =
      writer.Op("Less", {writer.Int32Row(at + "slots", slots), writer.Unsqueeze(num_points, at + "count_column", {1})},
                at + "used");
  const std::string mask = writer.Unsqueeze(writer.Cast(used, at + "float_used", kFloat), at + "mask", {2});
  writer.Op("Mul", {all, mask}, node.output.name);
}

void WriteLinear(OnnxWriter& writer, const GraphNode& node) {
  // Turned here, so that no runtime has to.
  const std::string weight = writer.Transposed(node.weight, node.weight + "/transposed");
  const std::string product =
      writer.Op("MatMul", {node.inputs[0], weight}, node.bias.empty() ? Raw(node) : node.output.name + "/product");
  if (!node.bias.empty()) writer.Op("Add", {product, writer.Weight(node.bias)}, Raw(node));
  Rectify(writer, node);
}

void WriteAppendMax(OnnxWriter& writer, const GraphNode& node) {
  const std::string& x = node.inputs[0];
  const std::string at = node.output.name + "/";
  const std::string maximum = writer.Op("ReduceMax", {x}, at + "maximum", {{"axes", {1}}}, {{"keepdims", 1}});
  const std::string repeated = writer.Op("Expand", {maximum, writer.Op("Shape", {x}, at + "shape")}, at + "repeated");
  writer.Op("Concat", {x, repeated}, node.output.name, {}, {{"axis", 2}});
}

void WriteScatter(OnnxWriter& writer, const GraphNode& node) {
  const std::string at = node.output.name + "/";
  const std::vector<int64_t>& shape = node.output.shape;
  const std::string canvas = writer.Op(
      "ConstantOfShape", {writer.Integers(at + "canvas_shape", {shape[2], shape[3], shape[1]})}, at + "canvas");
  const std::string cell =
      writer.Op("Gather", {node.inputs[1], writer.Integers(at + "yx_columns", {2, 3})}, at + "cell", {}, {{"axis", 1}});
  const std::string indices = writer.Cast(cell, at + "indices", onnx::TensorProto::INT64);
  const std::string filled = writer.Op("ScatterND", {canvas, indices, node.inputs[0]}, at + "filled");
  const std::string channels_first = writer.Op("Transpose", {filled}, at + "channels_first", {{"perm", {2, 0, 1}}});
  writer.Unsqueeze(channels_first, node.output.name, {0});
}

void WriteConvolution(OnnxWriter& writer, const char* type, const GraphNode& node) {
  std::vector<std::string> inputs = {node.inputs[0], writer.Weight(node.weight)};
  if (!node.bias.empty()) inputs.push_back(writer.Weight(node.bias));
  // Before and after the map, along y and x.
  std::vector<int64_t> pads = node.padding;
  pads.insert(pads.end(), node.padding.begin(), node.padding.end());
  writer.Op(type, inputs, Raw(node), {{"kernel_shape", node.kernel}, {"strides", node.stride}, {"pads", pads}});
  Rectify(writer, node);
}

// That everything which `node` reads is there.
absl::Status CheckNames(const NetworkGraph& graph, const GraphNode& node) {
  for (const std::string& input : node.inputs) {
    if (graph.Find(input) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("graph: nothing makes \"", input, "\", which ", node.output.name, " reads"));
    }
  }
  for (const std::string& weight : {node.weight, node.bias}) {
    if (!weight.empty() && graph.weights.count(weight) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("graph: no weight \"", weight, "\", which ", node.output.name, " names"));
    }
  }
  return absl::OkStatus();
}

absl::Status WriteNode(OnnxWriter& writer, const GraphNode& node) {
  const std::string& out = node.output.name;
  switch (node.op) {
    case GraphOp::kPillarPoints:
      WritePillarPoints(writer, node);
      break;
    case GraphOp::kLinear:
      WriteLinear(writer, node);
      break;
    case GraphOp::kAppendMax:
      WriteAppendMax(writer, node);
      break;
    case GraphOp::kMaxPoints:
      writer.Op("ReduceMax", node.inputs, out, {{"axes", {1}}}, {{"keepdims", 0}});
      break;
    case GraphOp::kScatter:
      WriteScatter(writer, node);
      break;
    case GraphOp::kConv2d:
      WriteConvolution(writer, "Conv", node);
      break;
    case GraphOp::kConvTranspose2d:
      WriteConvolution(writer, "ConvTranspose", node);
      break;
    case GraphOp::kConcat:
      writer.Op("Concat", node.inputs, out, {}, {{"axis", 1}});
      break;
    case GraphOp::kChannelsLast:
      writer.Op("Transpose", node.inputs, out, {{"perm", {0, 2, 3, 1}}});
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("ONNX cannot express ", GraphOpName(node.op), " (", out, "): it has no sparse 3D convolutions"));
  }
  return absl::OkStatus();
}

absl::Status WriteGraph(const NetworkGraph& graph, onnx::GraphProto& out) {
  OnnxWriter writer(graph, out);
  for (const GraphTensor& input : graph.inputs) writer.AddInput(input);
  for (const GraphNode& node : graph.nodes) {
    KD_RETURN_IF_ERROR(CheckNames(graph, node));
    KD_RETURN_IF_ERROR(WriteNode(writer, node));
  }
  for (const std::string& name : graph.outputs) {
    const GraphTensor* const tensor = graph.Find(name);
    if (tensor == nullptr)
      return absl::InvalidArgumentError(absl::StrCat("graph: no node makes the output \"", name, "\""));
    writer.AddOutput(*tensor);
  }
  return absl::OkStatus();
}

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
  KD_RETURN_IF_ERROR(WriteGraph(graph, *model.mutable_graph()));
  if (model.ByteSizeLong() > static_cast<size_t>(std::numeric_limits<int32_t>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the model takes ", model.ByteSizeLong(), " bytes; one ONNX file holds 2 GB at most"));
  }
  return model.SerializeAsString();
}

}  // namespace kd
