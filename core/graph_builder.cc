#include "core/graph_builder.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/detector_config.h"

namespace kd {
namespace {

constexpr char kVoxelRows[] = "V";

}  // namespace

GraphBuilder::GraphBuilder(const v1::Detector& detector, const SafeTensorsFile& file)
    : detector_(detector), weights_(file), cells_(GridCells(detector)) {
  const int64_t slots = detector_.max_points_per_voxel(), features = detector_.num_point_features();
  graph_.inputs = {Rows("voxels", {-1, slots, features}), Rows("num_points", {-1}), Rows("coords", {-1, 4})};
  for (size_t counts = 1; counts < graph_.inputs.size(); ++counts) graph_.inputs[counts].dtype = "I32";
}

GraphTensor GraphBuilder::Rows(const std::string& name, std::vector<int64_t> shape) {
  return {.name = name, .shape = std::move(shape), .rows = kVoxelRows};
}

std::string GraphBuilder::Push(GraphNode node) {
  graph_.nodes.push_back(std::move(node));
  return graph_.nodes.back().output.name;
}

void GraphBuilder::FoldInto(GraphNode& node, const std::string& name, FoldableLayer layer) {
  layer.weight = node.weight = name + ".weight";
  if (!layer.bias.empty() || !layer.norm.empty()) node.bias = name + ".bias";
  weights_.Add(layer, node.bias);
}

std::string GraphBuilder::AddConv2d(const std::string& x, const MapLayer& layer, const std::string& name) {
  const std::vector<int64_t>& in = At(x).shape;
  const auto extent = [&](int64_t cells) { return (cells + 2 * layer.padding - layer.kernel) / layer.stride + 1; };
  GraphNode node{.op = GraphOp::kConv2d,
                 .inputs = {x},
                 .output = {.name = name, .shape = {1, layer.out, extent(in[2]), extent(in[3])}},
                 .relu = !layer.norm.empty(),
                 .kernel = {layer.kernel, layer.kernel},
                 .stride = {layer.stride, layer.stride},
                 .padding = {layer.padding, layer.padding}};
  FoldInto(node, layer.conv,
           {.shape = {layer.out, in[1], layer.kernel, layer.kernel},
            .bias = layer.bias ? layer.conv + ".bias" : "",
            .norm = layer.norm,
            .norm_eps = layer.norm_eps});
  return Push(std::move(node));
}

std::string GraphBuilder::AddConvTranspose2d(const std::string& x, const MapLayer& layer, const std::string& name) {
  const std::vector<int64_t>& in = At(x).shape;
  GraphNode node{.op = GraphOp::kConvTranspose2d,
                 .inputs = {x},
                 .output = {.name = name, .shape = {1, layer.out, in[2] * layer.stride, in[3] * layer.stride}},
                 .relu = true,
                 .kernel = {layer.kernel, layer.kernel},
                 .stride = {layer.stride, layer.stride},
                 .padding = {0, 0}};
  FoldInto(node, layer.conv,
           {.shape = {in[1], layer.out, layer.kernel, layer.kernel},
            .output_axis = 1,
            .norm = layer.norm,
            .norm_eps = layer.norm_eps});
  return Push(std::move(node));
}

void GraphBuilder::Fail(absl::string_view problem) {
  if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("detector: ", problem));
}

absl::StatusOr<NetworkGraph> GraphBuilder::Finish() {
  KD_RETURN_IF_ERROR(status_);
  KD_RETURN_IF_ERROR(weights_.Check());
  graph_.weights = weights_.Take();
  return std::move(graph_);
}

}  // namespace kd
