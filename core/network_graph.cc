#include "core/network_graph.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/detector_config.h"
#include "core/graph_builder.h"
#include "core/graph_parts.h"

namespace kd {

absl::string_view GraphOpName(GraphOp op) {
  switch (op) {
    case GraphOp::kPillarPoints:
      return "pillar_points";
    case GraphOp::kMeanPoints:
      return "mean_points";
    case GraphOp::kLinear:
      return "linear";
    case GraphOp::kAppendMax:
      return "append_max";
    case GraphOp::kMaxPoints:
      return "max_points";
    case GraphOp::kScatter:
      return "scatter";
    case GraphOp::kSubmanifoldConv3d:
      return "submanifold_conv3d";
    case GraphOp::kSparseConv3d:
      return "sparse_conv3d";
    case GraphOp::kAdd:
      return "add";
    case GraphOp::kToDense:
      return "to_dense";
    case GraphOp::kConv2d:
      return "conv2d";
    case GraphOp::kConvTranspose2d:
      return "conv_transpose2d";
    case GraphOp::kConcat:
      return "concat";
    case GraphOp::kChannelsLast:
      return "channels_last";
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
  if (HasDynamicPillars(detector)) {
    return absl::InvalidArgumentError(
        "the detector stands on dynamic pillars (max_points_per_voxel: 0), whose maximum over any number of points no "
        "export here can say. Export a student with max_points_per_voxel above 0");
  }
  GraphBuilder graph(detector, file);
  const std::string map =
      AddBevBackbone(graph, detector.has_backbone_3d() ? AddVoxelEncoder(graph) : AddPillarEncoder(graph));
  KD_RETURN_IF_ERROR(graph.status());
  if (detector.has_anchor_head()) AddAnchorHead(graph, map);
  if (!detector.has_anchor_head()) AddCenterHead(graph, map);
  return graph.Finish();
}

}  // namespace kd
