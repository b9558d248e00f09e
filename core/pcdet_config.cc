#include "core/pcdet_config.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "base/text.h"
#include "core/detector_config.h"
#include "core/pcdet_reader.h"
#include "core/pcdet_second_stage.h"
#include "core/yaml_tree.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

// Steps of DATA_PROCESSOR; the second one leaves points to a VFE that makes pillars of them.
constexpr absl::string_view kToVoxels = "transform_points_to_voxels",
                            kToVoxelsLater = "transform_points_to_voxels_placeholder";

template <typename Values, typename Repeated>
void Fill(Repeated* field, const Values& values) {
  field->Clear();
  for (const auto& value : values) field->Add(value);
}

// Channels times a width factor, truncated, as the forks do.
std::vector<uint32_t> Widened(std::vector<uint32_t> widths, float factor) {
  for (uint32_t& width : widths) width = static_cast<uint32_t>(static_cast<double>(width) * factor);
  return widths;
}

// Builds one detector from one MODEL section.
class ModelReader {
 public:
  ModelReader(PcdetReader& reader, const YamlNode& model) : reader_(reader), model_(model) {}

  v1::Detector Read(const PcdetData& data) {
    *detector_.mutable_class_names() = {data.class_names.begin(), data.class_names.end()};
    Fill(detector_.mutable_point_cloud_range(), data.point_cloud_range);
    Fill(detector_.mutable_voxel_size(), data.voxel_size);
    detector_.set_max_points_per_voxel(data.max_points_per_voxel);
    detector_.set_max_voxels_train(data.max_voxels_train);
    detector_.set_max_voxels_test(data.max_voxels_test);
    detector_.set_num_point_features(data.num_point_features);
    ReadEncoder();
    ReadBevBackbone();
    ReadHead();
    if (FindEntry(model_, "ROI_HEAD") != nullptr) ReadSecondStage(reader_, model_, detector_);
    return detector_;
  }

 private:
  void ReadEncoder() {
    const YamlNode& vfe = reader_.Child(model_, "VFE");
    const std::string name = reader_.Text(vfe, "NAME");
    if (name == "DynPillarVFE" || name == "DynamicPillarVFE") {
      detector_.set_max_points_per_voxel(0);
      detector_.set_max_voxels_train(0);
      detector_.set_max_voxels_test(0);
      return ReadPillars(vfe);
    }
    if (name != "PillarVFE" && name != "MeanVFE")
      return reader_.Unknown(vfe, "VFE", name, "PillarVFE, DynPillarVFE and MeanVFE");
    if (detector_.max_points_per_voxel() == 0)
      reader_.Fail(vfe, absl::StrCat("VFE ", name, " reads voxels, but DATA_PROCESSOR has no step ", kToVoxels));
    if (name == "PillarVFE") return ReadPillars(vfe);
    ReadVoxels();
    CheckMap("a 3D backbone", "HeightCompression");
  }

  void ReadVoxels() {
    const YamlNode& node = reader_.Child(model_, "BACKBONE_3D");
    const std::string backbone = reader_.Text(node, "NAME");
    if (backbone != "VoxelBackBone8x" && backbone != "VoxelResBackBone8x" && backbone != "UNetV2") {
      return reader_.Unknown(node, "BACKBONE_3D", backbone, "VoxelBackBone8x, VoxelResBackBone8x and UNetV2");
    }
    v1::VoxelBackbone* b = detector_.mutable_backbone_3d();
    b->set_residual(backbone == "VoxelResBackBone8x");
    b->set_bn_eps(1e-3f);
    b->set_bn_momentum(0.01f);
    if (reader_.Number(node, "last_pad", 0) != 0) reader_.Fail(node, "last_pad other than 0 is not supported");
    if (backbone == "UNetV2") return ReadUnet(node, *b);
    auto layers = reader_.Numbers<uint32_t>(node, "LAYER_NUMS", /*needed=*/false);
    auto filters = reader_.Numbers<uint32_t>(node, "NUM_FILTERS", /*needed=*/false);
    if (layers.empty()) layers = {1, b->residual() ? 2u : 1u, 3, 3, 3, 1};
    if (filters.empty())
      filters = b->residual() ? std::vector<uint32_t>{16, 16, 32, 64, 128, 128}
                              : std::vector<uint32_t>{16, 16, 32, 64, 64, 128};
    Fill(b->mutable_layer_nums(), layers);
    Fill(b->mutable_num_filters(), Widened(filters, reader_.Number(node, "WIDTH", 1)));
  }

  // VoxelBackBone8x, whose widths nothing changes, and the way back to the voxels.
  void ReadUnet(const YamlNode& node, v1::VoxelBackbone& backbone) {
    if (!reader_.Flag(node, "RETURN_ENCODED_TENSOR", true)) {
      reader_.Fail(
          node,
          "RETURN_ENCODED_TENSOR False leaves no map: boxes would be proposed by points, as in PartA2_free.yaml; "
          "supported is Part-A2 with anchors, PartA2.yaml");
    }
    const YamlNode* const stage = FindEntry(model_, "ROI_HEAD");
    const YamlNode* const name = stage == nullptr ? nullptr : FindEntry(*stage, "NAME");
    if (name == nullptr || name->scalar != "PartA2FCHead")
      reader_.Fail(node, "BACKBONE_3D UNetV2 is supported under ROI_HEAD PartA2FCHead alone");
    Fill(backbone.mutable_layer_nums(), std::vector<uint32_t>{1, 1, 3, 3, 3, 1});
    Fill(backbone.mutable_num_filters(), std::vector<uint32_t>{16, 16, 32, 64, 64, 128});
  }

  void ReadPillars(const YamlNode& node) {
    v1::PillarVfe* vfe = detector_.mutable_vfe();
    Fill(vfe->mutable_num_filters(),
         Widened(reader_.Numbers<uint32_t>(node, "NUM_FILTERS"), reader_.Number(node, "WIDTH", 1)));
    vfe->set_with_distance(reader_.Flag(node, "WITH_DISTANCE", false));
    vfe->set_use_norm(reader_.Flag(node, "USE_NORM", true));
    // The key is spelt so in every released file.
    if (!reader_.Flag(node, "USE_ABSLOTE_XYZ", true)) vfe->set_use_absolute_xyz(false);
    vfe->set_bn_eps(1e-3f);
    vfe->set_bn_momentum(0.01f);
    CheckMap("pillars", "PointPillarScatter");
  }

  // How `encoded` becomes the map that BACKBONE_2D reads.
  void CheckMap(absl::string_view encoded, absl::string_view only) {
    const YamlNode& map = reader_.Child(model_, "MAP_TO_BEV");
    if (const std::string name = reader_.Text(map, "NAME"); name != only) {
      reader_.Fail(
          map, absl::StrCat("MAP_TO_BEV ", Quoted(name), " behind ", encoded, " is not supported; there it is ", only));
    }
  }

  void ReadBevBackbone() {
    const YamlNode& node = reader_.Child(model_, "BACKBONE_2D");
    const std::string name = reader_.Text(node, "NAME");
    if (name != "BaseBEVBackbone") reader_.Unknown(node, "BACKBONE_2D", name, "BaseBEVBackbone");
    v1::BevBackbone* b = detector_.mutable_backbone_2d();
    const float width = reader_.Number(node, "WIDTH", 1);
    Fill(b->mutable_layer_nums(), reader_.Numbers<uint32_t>(node, "LAYER_NUMS"));
    Fill(b->mutable_layer_strides(), reader_.Numbers<uint32_t>(node, "LAYER_STRIDES"));
    Fill(b->mutable_num_filters(), Widened(reader_.Numbers<uint32_t>(node, "NUM_FILTERS"), width));
    Fill(b->mutable_upsample_strides(), reader_.Numbers(node, "UPSAMPLE_STRIDES"));
    Fill(b->mutable_num_upsample_filters(), Widened(reader_.Numbers<uint32_t>(node, "NUM_UPSAMPLE_FILTERS"), width));
    b->set_bn_eps(1e-3f);
    b->set_bn_momentum(0.01f);
  }

  void ReadHead() {
    const YamlNode& node = reader_.Child(model_, "DENSE_HEAD");
    const std::string name = reader_.Text(node, "NAME");
    const bool on_voxels = detector_.has_backbone_3d();
    if (name == "CenterHead") {
      detector_.set_model(on_voxels ? "centerpoint_voxel" : "centerpoint_pillar");
      ReadCenterHead(node);
    } else if (name == "AnchorHeadSingle") {
      detector_.set_model(on_voxels ? "second" : "pointpillar");
      ReadAnchorHead(node);
    } else {
      reader_.Unknown(node, "DENSE_HEAD", name, "CenterHead and AnchorHeadSingle");
    }
  }

  void ReadCenterHead(const YamlNode& node) {
    v1::CenterHead* head = detector_.mutable_dense_head();
    for (const YamlNode& group : reader_.Child(node, "CLASS_NAMES_EACH_HEAD").items) {
      v1::CenterHead::Group* names = head->add_class_names_each_head();
      for (const YamlNode& class_name : group.items) names->add_class_names(class_name.scalar);
    }
    head->set_shared_conv_channel(reader_.Count(node, "SHARED_CONV_CHANNEL"));
    head->set_use_bias_before_norm(reader_.Flag(node, "USE_BIAS_BEFORE_NORM", false));
    head->set_num_conv(reader_.Count(node, "NUM_HM_CONV", 2));
    const YamlNode& branches = reader_.Child(node, "SEPARATE_HEAD_CFG");
    for (const std::string& branch : reader_.Texts(branches, "HEAD_ORDER")) {
      if (branch == "vel") head->set_with_velocity(true);
      if (branch == "center" || branch == "center_z" || branch == "dim" || branch == "rot" || branch == "vel") continue;
      reader_.Unknown(branches, "branch", branch, "center, center_z, dim, rot and vel");
    }
    const YamlNode& targets = reader_.Child(node, "TARGET_ASSIGNER_CONFIG");
    head->set_feature_map_stride(reader_.Count(targets, "FEATURE_MAP_STRIDE"));
    head->set_num_max_objs(reader_.Count(targets, "NUM_MAX_OBJS", 500));
    head->set_gaussian_overlap(reader_.Number(targets, "GAUSSIAN_OVERLAP", 0.1f));
    head->set_min_radius(reader_.Count(targets, "MIN_RADIUS", 2));
    const YamlNode& weights = reader_.Child(reader_.Child(node, "LOSS_CONFIG"), "LOSS_WEIGHTS");
    head->set_cls_weight(reader_.Number(weights, "cls_weight", 1));
    head->set_loc_weight(reader_.Number(weights, "loc_weight", 2));
    Fill(head->mutable_code_weights(), reader_.Numbers(weights, "code_weights", /*needed=*/false));
    head->set_bn_eps(reader_.Number(node, "BN_EPS", 1e-5f));
    head->set_bn_momentum(reader_.Number(node, "BN_MOM", 0.1f));
    const YamlNode& post = reader_.Child(node, "POST_PROCESSING");
    v1::PostProcessing* to = ReadNms(post);
    Fill(to->mutable_post_center_limit_range(), reader_.Numbers(post, "POST_CENTER_LIMIT_RANGE", /*needed=*/false));
    to->set_max_obj_per_sample(reader_.Count(post, "MAX_OBJ_PER_SAMPLE", 500));
  }

  void ReadAnchorHead(const YamlNode& node) {
    v1::AnchorHead* head = detector_.mutable_anchor_head();
    for (const YamlNode& anchors : reader_.Child(node, "ANCHOR_GENERATOR_CONFIG").items) {
      v1::AnchorHead::Anchors* to = head->add_anchors();
      to->set_class_name(reader_.Text(anchors, "class_name"));
      for (const YamlNode& size : reader_.Child(anchors, "anchor_sizes").items) {
        for (const YamlNode& side : size.items) to->add_sizes(reader_.ToNumber(side, "anchor_sizes"));
      }
      Fill(to->mutable_rotations(), reader_.Numbers(anchors, "anchor_rotations"));
      const std::vector<float> heights = reader_.Numbers(anchors, "anchor_bottom_heights");
      if (heights.size() != 1)
        reader_.Fail(anchors, absl::StrCat("anchor_bottom_heights has ", heights.size(), " values, expected 1"));
      to->set_bottom_height(heights.empty() ? 0 : heights[0]);
      to->set_align_center(reader_.Flag(anchors, "align_center", false));
      to->set_matched_threshold(reader_.Number(anchors, "matched_threshold"));
      to->set_unmatched_threshold(reader_.Number(anchors, "unmatched_threshold"));
      head->set_feature_map_stride(reader_.Count(anchors, "feature_map_stride"));
    }
    head->set_use_direction_classifier(reader_.Flag(node, "USE_DIRECTION_CLASSIFIER", true));
    head->set_dir_offset(reader_.Number(node, "DIR_OFFSET", 0.78539f));
    head->set_dir_limit_offset(reader_.Number(node, "DIR_LIMIT_OFFSET", 0));
    head->set_num_dir_bins(reader_.Count(node, "NUM_DIR_BINS", 2));
    const YamlNode& targets = reader_.Child(node, "TARGET_ASSIGNER_CONFIG");
    if (const std::string coder = reader_.Text(targets, "BOX_CODER"); coder != "ResidualCoder")
      reader_.Unknown(targets, "BOX_CODER", coder, "ResidualCoder");
    head->set_match_height(reader_.Flag(targets, "MATCH_HEIGHT", false));
    const YamlNode& weights = reader_.Child(reader_.Child(node, "LOSS_CONFIG"), "LOSS_WEIGHTS");
    head->set_cls_weight(reader_.Number(weights, "cls_weight", 1));
    head->set_loc_weight(reader_.Number(weights, "loc_weight", 2));
    head->set_dir_weight(reader_.Number(weights, "dir_weight", 0.2f));
    Fill(head->mutable_code_weights(), reader_.Numbers(weights, "code_weights", /*needed=*/false));
    const YamlNode& post = reader_.Child(model_, "POST_PROCESSING");
    reader_.OnlyIfWritten(post, "OUTPUT_RAW_SCORE", "false");
    ReadNms(post);
  }

  v1::PostProcessing* ReadNms(const YamlNode& post) {
    v1::PostProcessing* to = detector_.mutable_post_processing();
    to->set_score_thresh(reader_.Number(post, "SCORE_THRESH", 0.1f));
    const YamlNode& nms = reader_.Child(post, "NMS_CONFIG");
    reader_.OnlyIfWritten(nms, "NMS_TYPE", "nms_gpu");
    if (reader_.Flag(nms, "MULTI_CLASSES_NMS", false)) reader_.Fail(nms, "MULTI_CLASSES_NMS True is not supported");
    to->set_nms_thresh(reader_.Number(nms, "NMS_THRESH"));
    to->set_nms_pre_maxsize(reader_.Count(nms, "NMS_PRE_MAXSIZE"));
    to->set_nms_post_maxsize(reader_.Count(nms, "NMS_POST_MAXSIZE"));
    return to;
  }

  PcdetReader& reader_;
  const YamlNode& model_;
  v1::Detector detector_;
};

absl::StatusOr<v1::Detector> ReadModel(PcdetReader& reader, const YamlNode& model, const PcdetData& data) {
  v1::Detector detector = ModelReader(reader, model).Read(data);
  KD_RETURN_IF_ERROR(reader.status());
  KD_RETURN_IF_ERROR(ValidateDetector(detector));
  return detector;
}

void SetFile(const std::shared_ptr<const std::string>& file, YamlNode& node) {
  node.file = file;
  for (YamlNode& item : node.items) SetFile(file, item);
  for (auto& [key, value] : node.entries) SetFile(file, value);
}

// Maps are merged, everything else of `over` replaces. What a merged map lacks is told where `over` has it.
void Merge(YamlNode& base, const YamlNode& over) {
  if (base.kind != YamlNode::Kind::kMap || over.kind != YamlNode::Kind::kMap) {
    base = over;
    return;
  }
  base.file = over.file;
  base.line = over.line;
  base.column = over.column;
  for (const auto& [key, value] : over.entries) {
    const auto same = std::find_if(base.entries.begin(), base.entries.end(),
                                   [&k = key](const auto& entry) { return entry.first == k; });
    if (same == base.entries.end()) {
      base.entries.emplace_back(key, value);
    } else {
      Merge(same->second, value);
    }
  }
}

constexpr int kMaxBases = 8;
// Read in all for one configuration: a few lines that name each other could else ask for millions.
constexpr int kMaxFiles = 64;

absl::StatusOr<std::string> FindBase(const std::string& path, const std::string& name) {
  for (fs::path folder = fs::absolute(path).parent_path();; folder = folder.parent_path()) {
    // Without an error code it throws at a name that cannot be one, such as a very long one.
    std::error_code error;
    if (fs::is_regular_file(folder / name, error)) return (folder / name).string();
    if (folder == folder.parent_path()) break;
  }
  return absl::NotFoundError(
      absl::StrCat(path, ": _BASE_CONFIG_ \"", absl::CHexEscape(name.substr(0, 120)),
                   "\" is neither beside it nor in a folder above; copy the dataset_configs folder there, too"));
}

// `files` counts those read so far.
absl::StatusOr<YamlNode> ReadTree(const std::string& path, int depth, int& files);

// Replaces a map that names a base by the base with the map's entries over it.
absl::Status ApplyBases(const std::string& path, YamlNode& node, int depth, int& files) {
  for (auto& [key, value] : node.entries) KD_RETURN_IF_ERROR(ApplyBases(path, value, depth, files));
  const YamlNode* const base = FindEntry(node, "_BASE_CONFIG_");
  if (base == nullptr) return absl::OkStatus();
  KD_ASSIGN_OR_RETURN(const std::string base_path, FindBase(path, base->scalar));
  KD_ASSIGN_OR_RETURN(YamlNode merged, ReadTree(base_path, depth + 1, files));
  Merge(merged, node);
  node = std::move(merged);
  return absl::OkStatus();
}

absl::StatusOr<YamlNode> ReadTree(const std::string& path, int depth, int& files) {
  if (++files > kMaxFiles) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": _BASE_CONFIG_ stands for more than ", kMaxFiles, " files"));
  }
  if (depth > kMaxBases)
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": _BASE_CONFIG_ is nested deeper than ", kMaxBases, " files"));
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  KD_ASSIGN_OR_RETURN(YamlNode tree, ParseYamlTree(text, path));
  if (depth > 0) SetFile(std::make_shared<const std::string>(path), tree);
  KD_RETURN_IF_ERROR(ApplyBases(path, tree, depth, files));
  return tree;
}

// Columns are taken in the order of the file, so that only the last ones can be left out.
uint32_t ReadFeatures(PcdetReader& reader, const YamlNode& features) {
  constexpr size_t kShown = 120;
  const std::vector<std::string> used = reader.Texts(features, "used_feature_list");
  if (FindEntry(features, "src_feature_list") == nullptr) return static_cast<uint32_t>(used.size());
  const std::vector<std::string> all = reader.Texts(features, "src_feature_list");
  if (used.size() > all.size() || !std::equal(used.begin(), used.end(), all.begin())) {
    const auto shown = [](const std::vector<std::string>& names) {
      return absl::StrCat("[", OneLine(Shorten(absl::StrJoin(names, ", "), kShown)), "]");
    };
    reader.Fail(reader.Child(features, "used_feature_list"),
                absl::StrCat("used_feature_list is ", shown(used), ", expected the first columns of src_feature_list, ",
                             shown(all), ", in their order"));
  }
  return static_cast<uint32_t>(used.size());
}

PcdetData ReadData(PcdetReader& reader, const YamlNode& tree) {
  PcdetData data;
  data.class_names = reader.Texts(tree, "CLASS_NAMES");
  const YamlNode& config = reader.Child(tree, "DATA_CONFIG");
  const std::vector<float> range = reader.Numbers(config, "POINT_CLOUD_RANGE");
  if (range.size() == 6) std::copy(range.begin(), range.end(), data.point_cloud_range.begin());
  const YamlNode* voxels = nullptr;
  bool later = false;
  for (const YamlNode& step : reader.Child(config, "DATA_PROCESSOR").items) {
    const YamlNode* const name = FindEntry(step, "NAME");
    if (name == nullptr || (name->scalar != kToVoxels && name->scalar != kToVoxelsLater)) continue;
    voxels = &step;
    later = name->scalar == kToVoxelsLater;
  }
  if (voxels == nullptr) {
    reader.Fail(config, absl::StrCat("DATA_PROCESSOR has no step ", kToVoxels, " or ", kToVoxelsLater,
                                     ", which holds VOXEL_SIZE"));
    return data;
  }
  const std::vector<float> size = reader.Numbers(*voxels, "VOXEL_SIZE");
  if (size.size() == 3) std::copy(size.begin(), size.end(), data.voxel_size.begin());
  if (later) {
    data.max_points_per_voxel = data.max_voxels_train = data.max_voxels_test = 0;
  } else {
    data.max_points_per_voxel = reader.Count(*voxels, "MAX_POINTS_PER_VOXEL");
    const YamlNode& most = reader.Child(*voxels, "MAX_NUMBER_OF_VOXELS");
    data.max_voxels_train = reader.Count(most, "train");
    data.max_voxels_test = reader.Count(most, "test");
  }
  data.num_point_features = ReadFeatures(reader, reader.Child(config, "POINT_FEATURE_ENCODING"));
  return data;
}

}  // namespace

absl::StatusOr<v1::Detector> DetectorFromPcdetModel(absl::string_view model, const PcdetData& data) {
  KD_ASSIGN_OR_RETURN(const YamlNode tree, ParseYamlTree(model, "MODEL"));
  PcdetReader reader("MODEL");
  return ReadModel(reader, tree, data);
}

absl::StatusOr<v1::Detector> ReadPcdetConfig(const std::string& path, const std::string& section) {
  int files = 0;
  KD_ASSIGN_OR_RETURN(const YamlNode tree, ReadTree(path, 0, files));
  PcdetReader reader(path);
  const PcdetData data = ReadData(reader, tree);
  const YamlNode& model = reader.Child(tree, section);
  KD_RETURN_IF_ERROR(reader.status());
  return ReadModel(reader, model, data);
}

}  // namespace kd
