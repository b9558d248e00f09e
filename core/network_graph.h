// A detector's network as a list of operations on named tensors, for programs that are not kdfleet: what every export
// is written from. docs/graph-format.md says what each operation computes. No torch.
//
// Batch norms are folded into the layers in front of them (in double precision), rectifiers are marks on those layers.
// What comes before (voxels) and after (boxes from the heads' maps, suppression) is not part of the graph.
#ifndef KD_CORE_NETWORK_GRAPH_H_
#define KD_CORE_NETWORK_GRAPH_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/safetensors.h"
#include "kd/v1/detector.pb.h"

namespace kd {

enum class GraphOp {
  // Voxels.
  kPillarPoints,  // columns of every point in its pillar
  kMeanPoints,    // one row per voxel: the mean of its points
  // Rows.
  kLinear,
  kAppendMax,  // the pillar's maximum beside every point
  kMaxPoints,  // the pillar's maximum instead of its points
  kScatter,    // rows of pillars to a map
  // Sites of a sparse 3D grid.
  kSubmanifoldConv3d,
  kSparseConv3d,
  kAdd,
  kToDense,  // to a map, z folded into the channels
  // Maps, 1 x C x H x W.
  kConv2d,
  kConvTranspose2d,
  kConcat,
  kChannelsLast,  // 1 x H x W x C
};

// "conv2d" and so on.
absl::string_view GraphOpName(GraphOp op);

struct GraphTensor {
  std::string name;
  // "F32" or "I32".
  std::string dtype = "F32";
  // -1 stands for as many as there are `rows`.
  std::vector<int64_t> shape;
  // Names what is counted: "V", the frame's voxels, or the sites that the strided convolution of this key reaches.
  // Tensors with equal names have the same rows. Empty: no -1 in `shape`.
  std::string rows;
  // Of a sparse tensor: cells along z, y, x.
  std::vector<int64_t> grid;
};

struct GraphNode {
  GraphOp op = GraphOp::kConv2d;
  std::vector<std::string> inputs;
  GraphTensor output;
  // Names in NetworkGraph::weights; empty: none.
  std::string weight, bias;
  // max(0, x) of the result.
  bool relu = false;
  // Of convolutions, per axis.
  std::vector<int64_t> kernel, stride, padding;
  // Of sparse convolutions: layers with one key share the pairs of their sites.
  std::string indice_key;
  // Of kPillarPoints, along x, y, z.
  std::vector<float> voxel_size, first_centre;
  bool with_distance = false, use_absolute_xyz = true;
};

struct NetworkGraph {
  // voxels V x P x F; num_points V; coords V x 4: frame (always 0), z, y, x. No voxel stands there twice.
  std::vector<GraphTensor> inputs;
  // In an order in which they can run.
  std::vector<GraphNode> nodes;
  // Names of the heads' raw maps: "center", "center_z", "dim", "rot"[, "vel"], "hm"[, "iou"] of a CenterHead, each with
  // "head0." and so on before it where there are several heads; or "cls_preds", "box_preds"[, "iou_preds"]
  // [, "dir_cls_preds"] of an anchor head.
  std::vector<std::string> outputs;
  std::map<std::string, SafeTensor> weights;

  // Of an input or a node's output; null: no such.
  const GraphTensor* Find(absl::string_view name) const;
};

// The network of `detector` (valid) with the weights of `file` in evaluation mode.
// INVALID_ARGUMENT: tensors that are missing, left over, not finite or of another shape (the first of them listed);
// maps that do not fit together; a detector with two stages.
absl::StatusOr<NetworkGraph> BuildNetworkGraph(const v1::Detector& detector, const SafeTensorsFile& file);

}  // namespace kd

#endif  // KD_CORE_NETWORK_GRAPH_H_
