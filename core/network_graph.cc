#include "core/network_graph.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "core/detector_config.h"
#include "core/folded_weights.h"

namespace kd {
namespace {

constexpr char kVoxelRows[] = "V";

// Adds nodes one after the other. A map that does not fit is remembered and the rest still built: the first problem
// counts.
class GraphBuilder {
 public:
  GraphBuilder(const v1::Detector& detector, const SafeTensorsFile& file)
      : detector_(detector), weights_(file), cells_(GridCells(detector)) {}

  absl::StatusOr<NetworkGraph> Build() {
    AddInputs();
    const std::string map = AddBevBackbone(detector_.has_backbone_3d() ? AddVoxelEncoder() : AddPillarEncoder());
    KD_RETURN_IF_ERROR(status_);
    if (detector_.has_anchor_head()) AddAnchorHead(map);
    if (!detector_.has_anchor_head()) AddCenterHead(map);
    KD_RETURN_IF_ERROR(weights_.Check());
    graph_.weights = weights_.Take();
    return std::move(graph_);
  }

 private:
  const GraphTensor& At(const std::string& name) const { return *graph_.Find(name); }

  // Last added, whose name is returned by every function that adds.
  std::string Push(GraphNode node) {
    graph_.nodes.push_back(std::move(node));
    return graph_.nodes.back().output.name;
  }

  void Fail(absl::string_view problem) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("detector: ", problem));
  }

  // Takes the weights of `node`, whose layer is called `name`.
  void FoldInto(GraphNode& node, const std::string& name, FoldableLayer layer) {
    layer.weight = node.weight = name + ".weight";
    if (!layer.bias.empty() || !layer.norm.empty()) node.bias = name + ".bias";
    weights_.Add(layer, node.bias);
  }

  void AddInputs() {
    const int64_t slots = detector_.max_points_per_voxel(), features = detector_.num_point_features();
    graph_.inputs = {{.name = "voxels", .shape = {-1, slots, features}, .rows = kVoxelRows},
                     {.name = "num_points", .dtype = "I32", .shape = {-1}, .rows = kVoxelRows},
                     {.name = "coords", .dtype = "I32", .shape = {-1, 4}, .rows = kVoxelRows}};
  }

  GraphTensor Rows(const std::string& name, std::vector<int64_t> shape) const {
    return {.name = name, .shape = std::move(shape), .rows = kVoxelRows};
  }

  std::string AddPillarEncoder() {
    const v1::PillarVfe& vfe = detector_.vfe();
    const int64_t slots = detector_.max_points_per_voxel();
    GraphNode points{.op = GraphOp::kPillarPoints,
                     .inputs = {"voxels", "num_points", "coords"},
                     .with_distance = vfe.with_distance()};
    for (int axis = 0; axis < 3; ++axis) {
      const float size = detector_.voxel_size(axis);
      points.voxel_size.push_back(size);
      points.first_centre.push_back(size / 2 + detector_.point_cloud_range(axis));
    }
    int64_t width = static_cast<int64_t>(detector_.num_point_features()) + 6 + (vfe.with_distance() ? 1 : 0);
    points.output = Rows("vfe.points", {-1, slots, width});
    std::string x = Push(std::move(points));
    for (int i = 0; i < vfe.num_filters_size(); ++i) {
      const bool last = i + 1 == vfe.num_filters_size();
      const int64_t out = last ? vfe.num_filters(i) : vfe.num_filters(i) / 2;
      const std::string layer = absl::StrCat("vfe.pfn_layers.", i);
      GraphNode linear{
          .op = GraphOp::kLinear, .inputs = {x}, .output = Rows(layer + ".linear", {-1, slots, out}), .relu = true};
      FoldInto(linear, layer + ".linear",
               {.shape = {out, width},
                .bias = vfe.use_norm() ? "" : layer + ".linear.bias",
                .norm = vfe.use_norm() ? layer + ".norm" : "",
                .norm_eps = vfe.bn_eps()});
      x = Push(std::move(linear));
      width = last ? out : 2 * out;
      if (width != vfe.num_filters(i)) {
        Fail(absl::StrCat("vfe.num_filters[", i, "] is ", vfe.num_filters(i),
                          "; a layer that is not the last computes half of its width, which must be even"));
      }
      if (last) x = Push({.op = GraphOp::kMaxPoints, .inputs = {x}, .output = Rows(layer, {-1, width})});
      if (!last) x = Push({.op = GraphOp::kAppendMax, .inputs = {x}, .output = Rows(layer, {-1, slots, width})});
    }
    return Push({.op = GraphOp::kScatter,
                 .inputs = {x, "coords"},
                 .output = {.name = "vfe.map", .shape = {1, width, cells_[1], cells_[0]}}});
  }

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

  std::string AddSparse(const std::string& x, const SparseLayer& layer, const std::string& name) {
    const GraphTensor& in = At(x);
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
    FoldInto(node, layer.conv,
             {.shape = {layer.out, kernel[0], kernel[1], kernel[2], in.shape[1]},
              .bias = layer.bias ? layer.conv + ".bias" : "",
              .norm = layer.norm,
              .norm_eps = detector_.backbone_3d().bn_eps()});
    return Push(std::move(node));
  }

  // What most sub-modules are: convolution 0, norm 1, rectifier.
  static SparseLayer BlockOf(const std::string& name, int64_t out, const std::string& key) {
    return {.conv = name + ".0", .norm = name + ".1", .out = out, .indice_key = key};
  }

  std::string AddResidual(const std::string& x, const std::string& name, int64_t out, const std::string& key) {
    if (At(x).shape[1] != out) {
      Fail(absl::StrCat("backbone_3d.num_filters: ", name, " is a residual block of width ", out, " behind a width of ",
                        At(x).shape[1], "; they must be equal"));
    }
    SparseLayer layer{.conv = name + ".conv1", .norm = name + ".bn1", .out = out, .indice_key = key, .bias = true};
    const std::string first = AddSparse(x, layer, layer.conv);
    layer.conv = name + ".conv2";
    layer.norm = name + ".bn2";
    layer.relu = false;
    const std::string second = AddSparse(first, layer, layer.conv);
    GraphNode add{.op = GraphOp::kAdd, .inputs = {second, x}, .output = At(second), .relu = true};
    add.output.name = name;
    return Push(std::move(add));
  }

  std::string AddVoxelEncoder() {
    const v1::VoxelBackbone& b = detector_.backbone_3d();
    GraphTensor means = Rows("vfe.means", {-1, detector_.num_point_features()});
    // One more cell along z than the voxels need, as the released models have.
    means.grid = {cells_[2] + 1, cells_[1], cells_[0]};
    std::string x =
        Push({.op = GraphOp::kMeanPoints, .inputs = {"voxels", "num_points", "coords"}, .output = std::move(means)});
    const bool per_stage = b.num_filters_size() == 6;
    int sub_module = 0;
    const auto width = [&](int stage) -> int64_t { return b.num_filters(per_stage ? stage : sub_module++); };
    const std::string first = "backbone_3d.conv_input", last = "backbone_3d.conv_out";
    x = AddSparse(x, BlockOf(first, width(0), "subm1"), first);
    for (int level = 1; level <= 4; ++level) {
      for (uint32_t i = 0; i < b.layer_nums(level); ++i) {
        const std::string name = absl::StrCat("backbone_3d.conv", level, ".", i);
        const int64_t out = width(level);
        if (level > 1 && i == 0) {
          SparseLayer strided = BlockOf(name, out, absl::StrCat("spconv", level));
          strided.op = GraphOp::kSparseConv3d;
          if (level == 4) strided.padding[0] = 0;
          x = AddSparse(x, strided, name);
        } else if (b.residual()) {
          x = AddResidual(x, name, out, absl::StrCat("res", level));
        } else {
          x = AddSparse(x, BlockOf(name, out, absl::StrCat("subm", level)), name);
        }
      }
    }
    SparseLayer flat = BlockOf(last, width(5), "spconv_down2");
    flat.op = GraphOp::kSparseConv3d;
    flat.kernel = {3, 1, 1};
    flat.stride = {2, 1, 1};
    flat.padding = {0, 0, 0};
    x = AddSparse(x, flat, last);
    const GraphTensor& encoded = At(x);
    return Push({.op = GraphOp::kToDense,
                 .inputs = {x},
                 .output = {.name = "backbone_3d.map",
                            .shape = {1, encoded.shape[1] * encoded.grid[0], encoded.grid[1], encoded.grid[2]}}});
  }

  struct MapLayer {
    std::string conv, norm;
    int64_t out = 0, kernel = 3, stride = 1, padding = 1;
    bool bias = false;
    double norm_eps = 0;
  };

  // With a rectifier where there is a norm.
  std::string AddConv2d(const std::string& x, const MapLayer& layer, const std::string& name) {
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

  std::string AddConvTranspose2d(const std::string& x, const MapLayer& layer, const std::string& name) {
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

  // The level's map at the stride that all levels share.
  std::string AddUpsampling(const std::string& x, int level) {
    const v1::BevBackbone& b = detector_.backbone_2d();
    const std::string name = absl::StrCat("backbone_2d.deblocks.", level);
    const float up = b.upsample_strides(level);
    const int64_t k = std::lround(up >= 1 ? up : 1 / up);
    const MapLayer layer{.conv = name + ".0",
                         .norm = name + ".1",
                         .out = b.num_upsample_filters(level),
                         .kernel = k,
                         .stride = k,
                         .padding = 0,
                         .norm_eps = b.bn_eps()};
    if (up < 1 && (At(x).shape[2] < k || At(x).shape[3] < k)) {
      Fail(absl::StrCat("backbone_2d.upsample_strides[", level, "] is ", up, ", too small for a map of ",
                        At(x).shape[2], " x ", At(x).shape[3]));
    }
    return up >= 1 ? AddConvTranspose2d(x, layer, name) : AddConv2d(x, layer, name);
  }

  std::string AddBevBackbone(std::string x) {
    const v1::BevBackbone& b = detector_.backbone_2d();
    std::vector<std::string> maps;
    for (int level = 0; level < b.layer_nums_size(); ++level) {
      for (uint32_t i = 0; i <= b.layer_nums(level); ++i) {
        // Entry 0 was a padding layer once; the names of released weights count it.
        const auto entry = [&](uint32_t part) {
          return absl::StrCat("backbone_2d.blocks.", level, ".", 1 + 3 * i + part);
        };
        x = AddConv2d(x,
                      {.conv = entry(0),
                       .norm = entry(1),
                       .out = b.num_filters(level),
                       .stride = i == 0 ? b.layer_strides(level) : 1,
                       .norm_eps = b.bn_eps()},
                      entry(0));
      }
      maps.push_back(AddUpsampling(x, level));
    }
    if (maps.size() == 1) return maps[0];
    GraphNode concat{.op = GraphOp::kConcat, .inputs = maps, .output = At(maps[0])};
    concat.output.name = "backbone_2d";
    concat.output.shape[1] = 0;
    for (size_t level = 0; level < maps.size(); ++level) {
      const std::vector<int64_t>& shape = At(maps[level]).shape;
      concat.output.shape[1] += shape[1];
      if (shape[2] == concat.output.shape[2] && shape[3] == concat.output.shape[3]) continue;
      Fail(absl::StrCat("backbone_2d: level ", level, " ends in a map of ", shape[2], " x ", shape[3],
                        " and level 0 in one of ", concat.output.shape[2], " x ", concat.output.shape[3],
                        "; layer_strides and upsample_strides must bring all levels to one size"));
    }
    return Push(std::move(concat));
  }

  void AddCenterHead(const std::string& map) {
    const v1::CenterHead& head = detector_.dense_head();
    const bool bias = head.use_bias_before_norm();
    const int64_t shared = head.shared_conv_channel();
    const std::string of_all = "dense_head.shared_conv";
    const std::string x = AddConv2d(
        map, {.conv = of_all + ".0", .norm = of_all + ".1", .out = shared, .bias = bias, .norm_eps = head.bn_eps()},
        of_all);
    std::vector<int64_t> classes = {detector_.class_names_size()};
    if (!head.class_names_each_head().empty()) classes.clear();
    for (const auto& group : head.class_names_each_head()) classes.push_back(group.class_names_size());
    for (size_t h = 0; h < classes.size(); ++h) {
      const std::string prefix = classes.size() == 1 ? "" : absl::StrCat("head", h, ".");
      const auto add = [&](const std::string& branch, int64_t channels) {
        const std::string in_file = absl::StrCat("dense_head.heads_list.", h, ".", branch, ".");
        std::string y = x;
        const uint32_t hidden = head.num_conv() - 1;
        for (uint32_t i = 0; i < hidden; ++i) {
          const std::string layer = absl::StrCat(in_file, i);
          y = AddConv2d(
              y, {.conv = layer + ".0", .norm = layer + ".1", .out = shared, .bias = bias, .norm_eps = head.bn_eps()},
              layer);
        }
        graph_.outputs.push_back(
            AddConv2d(y, {.conv = absl::StrCat(in_file, hidden), .out = channels, .bias = true}, prefix + branch));
      };
      add("center", 2);
      add("center_z", 1);
      add("dim", 3);
      add("rot", 2);
      if (head.with_velocity()) add("vel", 2);
      add("hm", classes[h]);
      if (head.with_iou()) add("iou", classes[h]);
    }
  }

  void AddAnchorHead(const std::string& map) {
    const v1::AnchorHead& head = detector_.anchor_head();
    int64_t anchors = 0;
    for (const auto& of_class : head.anchors()) anchors += of_class.sizes_size() / 3 * of_class.rotations_size();
    const auto add = [&](const std::string& conv, const std::string& output, int64_t width) {
      const std::string name = "dense_head." + conv;
      const std::string y =
          AddConv2d(map, {.conv = name, .out = anchors * width, .kernel = 1, .padding = 0, .bias = true}, name);
      const std::vector<int64_t> shape = At(y).shape;
      graph_.outputs.push_back(Push({.op = GraphOp::kChannelsLast,
                                     .inputs = {y},
                                     .output = {.name = output, .shape = {1, shape[2], shape[3], shape[1]}}}));
    };
    add("conv_cls", "cls_preds", detector_.class_names_size());
    add("conv_box", "box_preds", 7);
    if (head.with_iou()) add("conv_iou", "iou_preds", detector_.class_names_size());
    if (head.use_direction_classifier()) add("conv_dir_cls", "dir_cls_preds", head.num_dir_bins());
  }

  const v1::Detector& detector_;
  FoldedWeights weights_;
  const std::array<int, 3> cells_;
  NetworkGraph graph_;
  absl::Status status_;
};

}  // namespace

absl::string_view GraphOpName(GraphOp op) {
  switch (op) {
    case GraphOp::kPillarPoints: return "pillar_points";
    case GraphOp::kMeanPoints: return "mean_points";
    case GraphOp::kLinear: return "linear";
    case GraphOp::kAppendMax: return "append_max";
    case GraphOp::kMaxPoints: return "max_points";
    case GraphOp::kScatter: return "scatter";
    case GraphOp::kSubmanifoldConv3d: return "submanifold_conv3d";
    case GraphOp::kSparseConv3d: return "sparse_conv3d";
    case GraphOp::kAdd: return "add";
    case GraphOp::kToDense: return "to_dense";
    case GraphOp::kConv2d: return "conv2d";
    case GraphOp::kConvTranspose2d: return "conv_transpose2d";
    case GraphOp::kConcat: return "concat";
    case GraphOp::kChannelsLast: return "channels_last";
  }
  return "";
}

const GraphTensor* NetworkGraph::Find(absl::string_view name) const {
  for (const GraphNode& node : nodes) {
    if (node.output.name == name) return &node.output;
  }
  for (const GraphTensor& input : inputs) {
    if (input.name == name) return &input;
  }
  return nullptr;
}

absl::StatusOr<NetworkGraph> BuildNetworkGraph(const v1::Detector& detector, const SafeTensorsFile& file) {
  if (detector.has_roi_head()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model ", detector.model(),
        " has two stages; the second one gathers points and voxels around each proposal, which no export here can "
        "say. Export a student of one stage"));
  }
  return GraphBuilder(detector, file).Build();
}

}  // namespace kd
