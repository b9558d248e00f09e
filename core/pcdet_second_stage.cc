#include "core/pcdet_second_stage.h"

#include <string>

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

void CheckKeypoints(PcdetReader& reader, const YamlNode& model) {
  const YamlNode& pfe = reader.Child(model, "PFE");
  reader.Only(pfe, "NAME", "VoxelSetAbstraction");
  reader.Only(pfe, "POINT_SOURCE", "raw_points");
  reader.Only(pfe, "SAMPLE_METHOD", "FPS");
  reader.Only(pfe, "NUM_OUTPUT_FEATURES", "128");
  reader.Only(pfe, "FEATURES_SOURCE", "[bev, x_conv1, x_conv2, x_conv3, x_conv4, raw_points]");
  const YamlNode& layers = reader.Child(pfe, "SA_LAYER");
  for (const Source& source : kKeypointSources) {
    const YamlNode& layer = reader.Child(layers, source.name);
    if (source.downsample != nullptr) reader.Only(layer, "DOWNSAMPLE_FACTOR", source.downsample);
    reader.Only(layer, "MLPS", source.widths);
    reader.Only(layer, "POOL_RADIUS", source.radii);
    reader.Only(layer, "NSAMPLE", source.samples);
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

void CheckLayers(PcdetReader& reader, const YamlNode& stage) {
  reader.Only(stage, "CLASS_AGNOSTIC", "true");
  for (const char* layers : {"SHARED_FC", "CLS_FC", "REG_FC"}) reader.Only(stage, layers, "[256, 256]");
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
    reader.Fail(stage, "ROI_HEAD is supported behind MeanVFE, VoxelBackBone8x and AnchorHeadSingle alone");
    return;
  }
  v1::RoiHead* head = detector.mutable_roi_head();
  head->set_num_keypoints(2048);
  if (name == "PVRCNNHead") {
    detector.set_model("pv_rcnn");
    CheckKeypoints(reader, model);
    CheckKeypointPooling(reader, reader.Child(stage, "ROI_GRID_POOL"));
    head->set_num_keypoints(reader.Count(reader.Child(model, "PFE"), "NUM_KEYPOINTS"));
  } else if (name == "VoxelRCNNHead") {
    detector.set_model("voxel_rcnn");
    CheckVoxelPooling(reader, reader.Child(stage, "ROI_GRID_POOL"));
  } else {
    reader.Unknown(stage, "ROI_HEAD", name, "PVRCNNHead and VoxelRCNNHead");
  }
  CheckLayers(reader, stage);
  const YamlNode& proposals = reader.Child(reader.Child(stage, "NMS_CONFIG"), "TEST");
  if (reader.Flag(proposals, "MULTI_CLASSES_NMS", false))
    reader.Fail(proposals, "MULTI_CLASSES_NMS True is not supported");
  head->set_nms_thresh(reader.Number(proposals, "NMS_THRESH"));
  head->set_nms_pre_maxsize(reader.Count(proposals, "NMS_PRE_MAXSIZE"));
  head->set_nms_post_maxsize(reader.Count(proposals, "NMS_POST_MAXSIZE"));
}

}  // namespace kd
