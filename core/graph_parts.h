// A detector's parts as pieces of a network graph. Each adds its layers to `graph` and returns the map it ends in. No
// torch.
#ifndef KD_CORE_GRAPH_PARTS_H_
#define KD_CORE_GRAPH_PARTS_H_

#include <string>

#include "core/graph_builder.h"

namespace kd {

std::string AddPillarEncoder(GraphBuilder& graph);  // graph_pillars.cc
std::string AddVoxelEncoder(GraphBuilder& graph);   // graph_voxels.cc
std::string AddBevBackbone(GraphBuilder& graph, const std::string& map);

// These add outputs.
void AddCenterHead(GraphBuilder& graph, const std::string& map);
void AddAnchorHead(GraphBuilder& graph, const std::string& map);

}  // namespace kd

#endif  // KD_CORE_GRAPH_PARTS_H_
