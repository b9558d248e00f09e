#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/graph_parts.h"

namespace kd {

void AddCenterHead(GraphBuilder& graph, const std::string& map) {
  const v1::CenterHead& head = graph.detector().dense_head();
  const bool bias = head.use_bias_before_norm();
  const int64_t shared = head.shared_conv_channel();
  const std::string of_all = "dense_head.shared_conv";
  const std::string x = graph.AddConv2d(
      map, {.conv = of_all + ".0", .norm = of_all + ".1", .out = shared, .bias = bias, .norm_eps = head.bn_eps()},
      of_all);
  std::vector<int64_t> classes = {graph.detector().class_names_size()};
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
        y = graph.AddConv2d(
            y, {.conv = layer + ".0", .norm = layer + ".1", .out = shared, .bias = bias, .norm_eps = head.bn_eps()},
            layer);
      }
      graph.AddOutput(
          graph.AddConv2d(y, {.conv = absl::StrCat(in_file, hidden), .out = channels, .bias = true}, prefix + branch));
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

void AddAnchorHead(GraphBuilder& graph, const std::string& map) {
  const v1::AnchorHead& head = graph.detector().anchor_head();
  int64_t anchors = 0;
  for (const auto& of_class : head.anchors()) anchors += of_class.sizes_size() / 3 * of_class.rotations_size();
  const auto add = [&](const std::string& conv, const std::string& output, int64_t width) {
    const std::string name = "dense_head." + conv;
    const std::string y =
        graph.AddConv2d(map, {.conv = name, .out = anchors * width, .kernel = 1, .padding = 0, .bias = true}, name);
    const std::vector<int64_t> shape = graph.At(y).shape;
    graph.AddOutput(graph.Push({.op = GraphOp::kChannelsLast,
                                .inputs = {y},
                                .output = {.name = output, .shape = {1, shape[2], shape[3], shape[1]}}}));
  };
  add("conv_cls", "cls_preds", graph.detector().class_names_size());
  add("conv_box", "box_preds", 7);
  if (head.with_iou()) add("conv_iou", "iou_preds", graph.detector().class_names_size());
  if (head.use_direction_classifier()) add("conv_dir_cls", "dir_cls_preds", head.num_dir_bins());
}

}  // namespace kd
