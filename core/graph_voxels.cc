#include <array>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/graph_parts.h"

namespace kd {
namespace {

// A sparse convolution and the batch norm behind it.
struct SparseLayer {
  GraphOp op = GraphOp::kSubmanifoldConv3d;
  std::string conv, norm;
  int64_t out = 0;
  std::string indice_key;
  std::array<int64_t, 3> kernel = {3, 3, 3};
  // Of kSparseConv3d.
  std::array<int64_t, 3> stride = {2, 2, 2}, padding = {1, 1, 1};
  bool bias = false, relu = true;
};

std::string AddSparse(GraphBuilder& graph, const std::string& x, const SparseLayer& layer, const std::string& name) {
  const GraphTensor& in = graph.At(x);
  const std::array<int64_t, 3>& kernel = layer.kernel;
  GraphNode node{.op = layer.op, .inputs = {x}, .output = in, .relu = layer.relu, .indice_key = layer.indice_key};
  node.output.name = name;
  node.output.shape = {-1, layer.out};
  node.kernel.assign(kernel.begin(), kernel.end());
  if (layer.op == GraphOp::kSparseConv3d) {
    node.stride.assign(layer.stride.begin(), layer.stride.end());
    node.padding.assign(layer.padding.begin(), layer.padding.end());
    node.output.rows = layer.indice_key;
    for (size_t axis = 0; axis < 3; ++axis) {
      node.output.grid[axis] = (in.grid[axis] + 2 * layer.padding[axis] - kernel[axis]) / layer.stride[axis] + 1;
    }
  }
  graph.FoldInto(node, layer.conv,
                 {.shape = {layer.out, kernel[0], kernel[1], kernel[2], in.shape[1]},
                  .bias = layer.bias ? layer.conv + ".bias" : "",
                  .norm = layer.norm,
                  .norm_eps = graph.detector().backbone_3d().bn_eps()});
  return graph.Push(std::move(node));
}

// What most sub-modules are: convolution 0, norm 1, rectifier.
SparseLayer BlockOf(const std::string& name, int64_t out, const std::string& key) {
  return {.conv = name + ".0", .norm = name + ".1", .out = out, .indice_key = key};
}

std::string AddResidual(GraphBuilder& graph, const std::string& x, const std::string& name, int64_t out,
                        const std::string& key) {
  if (graph.At(x).shape[1] != out) {
    graph.Fail(absl::StrCat("backbone_3d.num_filters: ", name, " is a residual block of width ", out,
                            " behind a width of ", graph.At(x).shape[1], "; they must be equal"));
  }
  SparseLayer layer{.conv = name + ".conv1", .norm = name + ".bn1", .out = out, .indice_key = key, .bias = true};
  const std::string first = AddSparse(graph, x, layer, layer.conv);
  layer.conv = name + ".conv2";
  layer.norm = name + ".bn2";
  layer.relu = false;
  const std::string second = AddSparse(graph, first, layer, layer.conv);
  GraphNode add{.op = GraphOp::kAdd, .inputs = {second, x}, .output = graph.At(second), .relu = true};
  add.output.name = name;
  return graph.Push(std::move(add));
}

}  // namespace

std::string AddVoxelEncoder(GraphBuilder& graph) {
  const v1::VoxelBackbone& b = graph.detector().backbone_3d();
  GraphTensor means = GraphBuilder::Rows("vfe.means", {-1, graph.detector().num_point_features()});
  // One more cell along z than the voxels need, as the released models have.
  means.grid = {graph.cells()[2] + 1, graph.cells()[1], graph.cells()[0]};
  std::string x = graph.Push(
      {.op = GraphOp::kMeanPoints, .inputs = {"voxels", "num_points", "coords"}, .output = std::move(means)});
  const bool per_stage = b.num_filters_size() == 6;
  int sub_module = 0;
  const auto width = [&](int stage) -> int64_t { return b.num_filters(per_stage ? stage : sub_module++); };
  const std::string first = "backbone_3d.conv_input", last = "backbone_3d.conv_out";
  x = AddSparse(graph, x, BlockOf(first, width(0), "subm1"), first);
  for (int level = 1; level <= 4; ++level) {
    for (uint32_t i = 0; i < b.layer_nums(level); ++i) {
      const std::string name = absl::StrCat("backbone_3d.conv", level, ".", i);
      const int64_t out = width(level);
      if (level > 1 && i == 0) {
        SparseLayer strided = BlockOf(name, out, absl::StrCat("spconv", level));
        strided.op = GraphOp::kSparseConv3d;
        if (level == 4) strided.padding[0] = 0;
        x = AddSparse(graph, x, strided, name);
      } else if (b.residual()) {
        x = AddResidual(graph, x, name, out, absl::StrCat("res", level));
      } else {
        x = AddSparse(graph, x, BlockOf(name, out, absl::StrCat("subm", level)), name);
      }
    }
  }
  SparseLayer flat = BlockOf(last, width(5), "spconv_down2");
  flat.op = GraphOp::kSparseConv3d;
  flat.kernel = {3, 1, 1};
  flat.stride = {2, 1, 1};
  flat.padding = {0, 0, 0};
  x = AddSparse(graph, x, flat, last);
  const GraphTensor& encoded = graph.At(x);
  return graph.Push({.op = GraphOp::kToDense,
                     .inputs = {x},
                     .output = {.name = "backbone_3d.map",
                                .shape = {1, encoded.shape[1] * encoded.grid[0], encoded.grid[1], encoded.grid[2]}}});
}

}  // namespace kd
