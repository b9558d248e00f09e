#include "core/export_facts.h"

#include <array>
#include <charconv>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/detector_config.h"

namespace kd {
namespace {

using Json = nlohmann::ordered_json;

// The shortest decimal that is this float, as a double: 0.3 instead of 0.30000001192092896.
double Shortest(float value) {
  std::array<char, 64> text;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  double number = value;
  std::from_chars(text.data(), end, number);
  return number;
}

template <typename Repeated>
Json Numbers(const Repeated& values) {
  Json list = Json::array();
  for (const float value : values) list.push_back(Shortest(value));
  return list;
}

template <typename Repeated>
Json Names(const Repeated& names) {
  return Json(std::vector<std::string>(names.begin(), names.end()));
}

// What the columns of a point were in training.
struct PointColumns {
  const char* axes;
  std::string intensity;
  // Behind intensity.
  const char* fifth;
};

constexpr char kForward[] = "x forward, y left, z up";

PointColumns ColumnsOf(const v1::Data& data) {
  const std::string& format = data.format();
  if (format == "waymo") return {kForward, "tanh(intensity)", "elongation"};
  if (format == "nuscenes") return {"x right, y forward, z up", "intensity, 0 to 255", "seconds before the key frame"};
  // Messages that no job file was read into have 0.
  const float scale = data.intensity_scale() == 0 ? 1 : data.intensity_scale();
  return {kForward, scale == 1 ? "intensity, 0 to 1" : absl::StrCat("intensity / ", scale), nullptr};
}

Json PointFacts(const v1::Detector& detector, const v1::Pair* pair) {
  Json points = {{"num_features", detector.num_point_features()}};
  if (pair == nullptr) return points;
  const PointColumns columns = ColumnsOf(pair->data());
  points["axes"] = columns.axes;
  points["columns"] = {"x", "y", "z", columns.intensity};
  for (uint32_t i = 4; i < detector.num_point_features(); ++i) {
    const bool named = i == 4 && columns.fifth != nullptr;
    points["columns"].push_back(named ? columns.fifth : absl::StrCat("column ", i, " of the files"));
  }
  return points;
}

Json SuppressionFacts(const v1::PostProcessing& post) {
  Json facts = {{"score_thresh", Shortest(post.score_thresh())},
                {"nms_thresh", Shortest(post.nms_thresh())},
                {"nms_pre_maxsize", post.nms_pre_maxsize()},
                {"nms_post_maxsize", post.nms_post_maxsize()},
                {"nms_per_class", post.nms_per_class()}};
  if (!post.post_center_limit_range().empty())
    facts["post_center_limit_range"] = Numbers(post.post_center_limit_range());
  if (post.has_max_obj_per_sample()) facts["max_obj_per_sample"] = post.max_obj_per_sample();
  return facts;
}

Json HeadFacts(const v1::Detector& detector) {
  Json facts = {{"kind", detector.has_anchor_head() ? "anchors" : "center"},
                {"feature_map_stride", static_cast<int>(FeatureMapStride(detector))}};
  if (!detector.has_anchor_head()) {
    Json& groups = facts["class_names_each_head"] = Json::array();
    for (const auto& group : detector.dense_head().class_names_each_head())
      groups.push_back(Names(group.class_names()));
    if (groups.empty()) groups.push_back(Names(detector.class_names()));
    return facts;
  }
  const v1::AnchorHead& head = detector.anchor_head();
  for (const auto& of_class : head.anchors()) {
    facts["anchors"].push_back({{"class_name", of_class.class_name()},
                                {"sizes", Numbers(of_class.sizes())},
                                {"rotations", Numbers(of_class.rotations())},
                                {"bottom_height", Shortest(of_class.bottom_height())},
                                {"align_center", of_class.align_center()}});
  }
  if (!head.use_direction_classifier()) return facts;
  facts["num_dir_bins"] = head.num_dir_bins();
  facts["dir_offset"] = Shortest(head.dir_offset());
  facts["dir_limit_offset"] = Shortest(head.dir_limit_offset());
  return facts;
}

}  // namespace

Json TensorJson(const GraphTensor& tensor) {
  Json shape = Json::array();
  for (const int64_t extent : tensor.shape) {
    if (extent < 0) shape.push_back(tensor.rows);
    if (extent >= 0) shape.push_back(extent);
  }
  Json json = {{"name", tensor.name}, {"dtype", tensor.dtype}, {"shape", shape}};
  if (!tensor.grid.empty()) json["grid"] = tensor.grid;
  return json;
}

Json ExportFacts(const v1::Detector& detector, const NetworkGraph& graph, const v1::Pair* pair) {
  Json facts = {{"model", detector.model()},
                {"class_names", Names(detector.class_names())},
                {"point_cloud_range", Numbers(detector.point_cloud_range())},
                {"voxel_size", Numbers(detector.voxel_size())},
                {"grid_size", GridCells(detector)},
                {"max_points_per_voxel", detector.max_points_per_voxel()},
                {"max_voxels", detector.max_voxels_test()},
                {"points", PointFacts(detector, pair)},
                {"head", HeadFacts(detector)},
                {"post_processing", SuppressionFacts(detector.post_processing())}};
  for (const GraphTensor& input : graph.inputs) facts["inputs"].push_back(TensorJson(input));
  for (const std::string& output : graph.outputs) facts["outputs"].push_back(TensorJson(*graph.Find(output)));
  return facts;
}

}  // namespace kd
