#include "core/pcdet_second_stage.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/text.h"

namespace kd {
namespace {

// What PV-RCNN's keypoints gather from one source.
struct Source {
  const char *name, *downsample, *widths, *radii, *samples;
};
constexpr Source kKeypointSources[] = {{"x_conv1", "1", "[[16, 16], [16, 16]]", "[0.4, 0.8]", "[16, 16]"},
                                       {"x_conv2", "2", "[[32, 32], [32, 32]]", "[0.8, 1.2]", "[16, 32]"},
                                       {"x_conv3", "4", "[[64, 64], [64, 64]]", "[1.2, 2.4]", "[16, 32]"},
                                       {"x_conv4", "8", "[[64, 64], [64, 64]]", "[2.4, 4.8]", "[16, 32]"},
                                       {"raw_points", nullptr, "[[16, 16], [16, 16]]", "[0.4, 0.8]", "[16, 16]"}};

// What Voxel R-CNN's grid points gather from one map.
struct Map {
  const char *name, *radii;
};
constexpr Map kGridMaps[] = {{"x_conv2", "[0.4]"}, {"x_conv3", "[0.8]"}, {"x_conv4", "[1.6]"}};

void CheckKeypoints(PcdetReader& reader, const YamlNode& model, const std::vector<std::string>& sources) {
  const YamlNode& pfe = reader.Child(model, "PFE");
  reader.Only(pfe, "NAME", "VoxelSetAbstraction");
  reader.Only(pfe, "POINT_SOURCE", "raw_points");
  reader.Only(pfe, "SAMPLE_METHOD", "FPS");
  reader.Only(pfe, "NUM_OUTPUT_FEATURES", "128");
  const YamlNode& layers = reader.Child(pfe, "SA_LAYER");
  for (const std::string& name : sources) {
    const auto source = std::find_if(std::begin(kKeypointSources), std::end(kKeypointSources),
                                     [&](const Source& known) { return known.name == name; });
    if (name == "bev") continue;  // sampled, not pooled
    if (source == std::end(kKeypointSources))
      return reader.Unknown(pfe, "FEATURES_SOURCE", name, "bev, x_conv1 to x_conv4 and raw_points");
    const YamlNode& layer = reader.Child(layers, name);
    if (source->downsample != nullptr) reader.Only(layer, "DOWNSAMPLE_FACTOR", source->downsample);
    reader.Only(layer, "MLPS", source->widths);
    reader.Only(layer, "POOL_RADIUS", source->radii);
    reader.Only(layer, "NSAMPLE", source->samples);
    if (reader.Flag(layer, "FILTER_NEIGHBOR_WITH_ROI", false))
      reader.Fail(layer, "FILTER_NEIGHBOR_WITH_ROI True is not supported");
  }
  const YamlNode& head = reader.Child(model, "POINT_HEAD");
  reader.Only(head, "NAME", "PointHeadSimple");
  reader.Only(head, "CLS_FC", "[256, 256]");
  reader.Only(head, "CLASS_AGNOSTIC", "true");
  reader.Only(head, "USE_POINT_FEATURES_BEFORE_FUSION", "true");
}

void CheckKeypointPooling(PcdetReader& reader, const YamlNode& pool) {
  reader.Only(pool, "GRID_SIZE", "6");
  reader.Only(pool, "MLPS", "[[64, 64], [64, 64]]");
  reader.Only(pool, "POOL_RADIUS", "[0.8, 1.6]");
  reader.Only(pool, "NSAMPLE", "[16, 16]");
  reader.Only(pool, "POOL_METHOD", "max_pool");
}

void CheckVoxelPooling(PcdetReader& reader, const YamlNode& pool) {
  reader.Only(pool, "GRID_SIZE", "6");
  reader.Only(pool, "FEATURES_SOURCE", "[x_conv2, x_conv3, x_conv4]");
  const YamlNode& layers = reader.Child(pool, "POOL_LAYERS");
  for (const Map& map : kGridMaps) {
    const YamlNode& layer = reader.Child(layers, map.name);
    reader.Only(layer, "MLPS", "[[32, 32]]");
    reader.Only(layer, "QUERY_RANGES", "[[4, 4, 4]]");
    reader.Only(layer, "POOL_RADIUS", map.radii);
    reader.Only(layer, "NSAMPLE", "[16]");
    reader.Only(layer, "POOL_METHOD", "max_pool");
  }
}

void ReadPartPooling(PcdetReader& reader, const YamlNode& model, const YamlNode& stage, v1::RoiHead& to) {
  reader.Only(reader.Child(model, "BACKBONE_3D"), "NAME", "UNetV2");
  if (FindEntry(model, "PFE") != nullptr)
    reader.Fail(stage, "ROI_HEAD PartA2FCHead behind a PFE is not supported; leave PFE out");
  const YamlNode& head = reader.Child(model, "POINT_HEAD");
  reader.Only(head, "NAME", "PointIntraPartOffsetHead");
  reader.Only(head, "CLS_FC", "[]");
  reader.Only(head, "PART_FC", "[]");
  reader.Only(head, "CLASS_AGNOSTIC", "true");
  const YamlNode& targets = reader.Child(head, "TARGET_CONFIG");
  const YamlNode* const coder = FindEntry(targets, "BOX_CODER");
  if (coder != nullptr && coder->kind != YamlNode::Kind::kNull)
    reader.Fail(targets, "BOX_CODER: a POINT_HEAD that proposes boxes is not supported; anchors do");
  if (reader.Flag(stage, "DISABLE_PART", false)) reader.Fail(stage, "DISABLE_PART True is not supported");
  reader.Only(stage, "SEG_MASK_SCORE_THRESH", "0.3");
  const YamlNode& pool = reader.Child(stage, "ROI_AWARE_POOL");
  to.set_pool_size(reader.Count(pool, "POOL_SIZE"));
  reader.Only(pool, "NUM_FEATURES", "128");
  reader.Only(pool, "MAX_POINTS_PER_VOXEL", "128");
}

void CheckLayers(PcdetReader& reader, const YamlNode& stage, const char* shared) {
  reader.Only(stage, "CLASS_AGNOSTIC", "true");
  reader.Only(stage, "SHARED_FC", shared);
  for (const char* layers : {"CLS_FC", "REG_FC"}) reader.Only(stage, layers, "[256, 256]");
  // Without dropout the layers behind it would have other numbers in their names.
  if (!(reader.Number(stage, "DP_RATIO") > 0))
    reader.Fail(stage, "DP_RATIO is not above 0; supported are layers with dropout between them");
  reader.Only(reader.Child(stage, "TARGET_CONFIG"), "BOX_CODER", "ResidualCoder");
}

}  // namespace

void ReadSecondStage(PcdetReader& reader, const YamlNode& model, v1::Detector& detector) {
  const YamlNode& stage = reader.Child(model, "ROI_HEAD");
  const std::string name = reader.Text(stage, "NAME");
  if (!detector.has_backbone_3d() || !detector.has_anchor_head()) {
    reader.Fail(stage, absl::StrCat(
                           "ROI_HEAD ", Quoted(name), " behind ", detector.has_backbone_3d() ? "CenterHead" : "pillars",
                           " is not supported; it is behind MeanVFE, VoxelBackBone8x or UNetV2, and AnchorHeadSingle"));
    return;
  }
  v1::RoiHead* head = detector.mutable_roi_head();
  head->set_num_keypoints(2048);
  const char* layers = "[256, 256]";
  if (name == "PVRCNNHead") {
    detector.set_model("pv_rcnn");
    const YamlNode& pfe = reader.Child(model, "PFE");
    const std::vector<std::string> sources = reader.Texts(pfe, "FEATURES_SOURCE");
    CheckKeypoints(reader, model, sources);
    CheckKeypointPooling(reader, reader.Child(stage, "ROI_GRID_POOL"));
    head->set_num_keypoints(reader.Count(pfe, "NUM_KEYPOINTS"));
    if (sources.empty()) reader.Fail(pfe, "FEATURES_SOURCE is not a list of at least one source");
    *head->mutable_features_source() = {sources.begin(), sources.end()};
  } else if (name == "VoxelRCNNHead") {
    detector.set_model("voxel_rcnn");
    CheckVoxelPooling(reader, reader.Child(stage, "ROI_GRID_POOL"));
  } else if (name == "PartA2FCHead") {
    detector.set_model("part_a2");
    ReadPartPooling(reader, model, stage, *head);
    layers = "[256, 256, 256]";
  } else {
    reader.Unknown(stage, "ROI_HEAD", name, "PVRCNNHead, VoxelRCNNHead and PartA2FCHead");
  }
  CheckLayers(reader, stage, layers);
  const YamlNode& proposals = reader.Child(reader.Child(stage, "NMS_CONFIG"), "TEST");
  reader.OnlyIfWritten(proposals, "NMS_TYPE", "nms_gpu");
  if (reader.Flag(proposals, "MULTI_CLASSES_NMS", false))
    reader.Fail(proposals, "MULTI_CLASSES_NMS True is not supported");
  head->set_nms_thresh(reader.Number(proposals, "NMS_THRESH"));
  head->set_nms_pre_maxsize(reader.Count(proposals, "NMS_PRE_MAXSIZE"));
  head->set_nms_post_maxsize(reader.Count(proposals, "NMS_POST_MAXSIZE"));
}

}  // namespace kd
