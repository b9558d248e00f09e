#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/graph_parts.h"

namespace kd {
namespace {

// The level's map at the stride that all levels share.
std::string AddUpsampling(GraphBuilder& graph, const std::string& x, int level) {
  const v1::BevBackbone& b = graph.detector().backbone_2d();
  const std::string name = absl::StrCat("backbone_2d.deblocks.", level);
  const std::vector<int64_t>& map = graph.At(x).shape;
  const float up = b.upsample_strides(level);
  if (up < 1 && !(1 / up <= static_cast<float>(std::min(map[2], map[3])))) {
    graph.Fail(absl::StrCat("backbone_2d.upsample_strides[", level, "] is ", up, ", too small for a map of ", map[2],
                            " x ", map[3]));
    return x;
  }
  const int64_t k = std::lround(up >= 1 ? up : 1 / up);
  const MapLayer layer{.conv = name + ".0",
                       .norm = name + ".1",
                       .out = b.num_upsample_filters(level),
                       .kernel = k,
                       .stride = k,
                       .padding = 0,
                       .norm_eps = b.bn_eps()};
  return up >= 1 ? graph.AddConvTranspose2d(x, layer, name) : graph.AddConv2d(x, layer, name);
}

}  // namespace

std::string AddBevBackbone(GraphBuilder& graph, const std::string& map) {
  const v1::BevBackbone& b = graph.detector().backbone_2d();
  std::string x = map;
  std::vector<std::string> maps;
  for (int level = 0; level < b.layer_nums_size(); ++level) {
    for (uint32_t i = 0; i <= b.layer_nums(level); ++i) {
      // Entry 0 was a padding layer once; the names of released weights count it.
      const auto entry = [&](uint32_t part) {
        return absl::StrCat("backbone_2d.blocks.", level, ".", 1 + 3 * i + part);
      };
      x = graph.AddConv2d(x,
                          {.conv = entry(0),
                           .norm = entry(1),
                           .out = b.num_filters(level),
                           .stride = i == 0 ? b.layer_strides(level) : 1,
                           .norm_eps = b.bn_eps()},
                          entry(0));
    }
    maps.push_back(AddUpsampling(graph, x, level));
  }
  if (maps.size() == 1) return maps[0];
  GraphNode concat{.op = GraphOp::kConcat, .inputs = maps, .output = graph.At(maps[0])};
  concat.output.name = "backbone_2d";
  concat.output.shape[1] = 0;
  for (size_t level = 0; level < maps.size(); ++level) {
    const std::vector<int64_t>& shape = graph.At(maps[level]).shape;
    concat.output.shape[1] += shape[1];
    if (shape[2] == concat.output.shape[2] && shape[3] == concat.output.shape[3]) continue;
    graph.Fail(absl::StrCat("backbone_2d: level ", level, " ends in a map of ", shape[2], " x ", shape[3],
                            " and level 0 in one of ", concat.output.shape[2], " x ", concat.output.shape[3],
                            "; layer_strides and upsample_strides must bring all levels to one size"));
  }
  return graph.Push(std::move(concat));
}

}  // namespace kd
