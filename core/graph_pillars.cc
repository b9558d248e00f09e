#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/detector_config.h"
#include "core/graph_parts.h"

namespace kd {

std::string AddPillarEncoder(GraphBuilder& graph) {
  const v1::PillarVfe& vfe = graph.detector().vfe();
  const int64_t slots = graph.detector().max_points_per_voxel();
  GraphNode points{.op = GraphOp::kPillarPoints,
                   .inputs = {"voxels", "num_points", "coords"},
                   .with_distance = vfe.with_distance(),
                   .use_absolute_xyz = HasAbsoluteXyz(vfe)};
  for (int axis = 0; axis < 3; ++axis) {
    const float size = graph.detector().voxel_size(axis);
    points.voxel_size.push_back(size);
    points.first_centre.push_back(size / 2 + graph.detector().point_cloud_range(axis));
  }
  int64_t width = static_cast<int64_t>(graph.detector().num_point_features()) + (points.use_absolute_xyz ? 6 : 3) +
                  (points.with_distance ? 1 : 0);
  points.output = GraphBuilder::Rows("vfe.points", {-1, slots, width});
  std::string x = graph.Push(std::move(points));
  for (int i = 0; i < vfe.num_filters_size(); ++i) {
    const bool last = i + 1 == vfe.num_filters_size();
    const int64_t out = last ? vfe.num_filters(i) : vfe.num_filters(i) / 2;
    const std::string layer = absl::StrCat("vfe.pfn_layers.", i);
    GraphNode linear{.op = GraphOp::kLinear,
                     .inputs = {x},
                     .output = GraphBuilder::Rows(layer + ".linear", {-1, slots, out}),
                     .relu = true};
    graph.FoldInto(linear, layer + ".linear",
                   {.shape = {out, width},
                    .bias = vfe.use_norm() ? "" : layer + ".linear.bias",
                    .norm = vfe.use_norm() ? layer + ".norm" : "",
                    .norm_eps = vfe.bn_eps()});
    x = graph.Push(std::move(linear));
    width = last ? out : 2 * out;
    if (width != vfe.num_filters(i)) {
      graph.Fail(absl::StrCat("vfe.num_filters[", i, "] is ", vfe.num_filters(i),
                              "; a layer that is not the last computes half of its width, which must be even"));
    }
    if (last)
      x = graph.Push({.op = GraphOp::kMaxPoints, .inputs = {x}, .output = GraphBuilder::Rows(layer, {-1, width})});
    if (!last)
      x = graph.Push(
          {.op = GraphOp::kAppendMax, .inputs = {x}, .output = GraphBuilder::Rows(layer, {-1, slots, width})});
  }
  return graph.Push({.op = GraphOp::kScatter,
                     .inputs = {x, "coords"},
                     .output = {.name = "vfe.map", .shape = {1, width, graph.cells()[1], graph.cells()[0]}}});
}

}  // namespace kd
