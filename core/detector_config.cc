#include "core/detector_config.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "google/protobuf/util/json_util.h"

namespace kd {
namespace {

uint32_t Scaled(uint32_t channels, float factor) {
  return std::max<uint32_t>(1, static_cast<uint32_t>(std::floor(static_cast<double>(channels) * factor + 1e-6)));
}

template <typename Repeated>
void ScaleAll(Repeated* widths, float factor) {
  for (auto& width : *widths) width = Scaled(width, factor);
}

absl::Status Invalid(absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("detector: ", problem));
}

constexpr const char* kModels[] = {
    "centerpoint_pillar", "centerpoint_voxel", "part_a2", "pointpillar", "pv_rcnn", "second", "voxel_rcnn"};

constexpr const char* kKeypointSources[] = {"bev", "x_conv1", "x_conv2", "x_conv3", "x_conv4", "raw_points"};

// Of the 3D backbone, along x and y.
constexpr int64_t kVoxelStride = 8;

// A detector beyond these is a damaged file, not a model; building it would take all memory.
constexpr double kMaxCells = 4096 * 4096;
// Flat cells are 32-bit numbers.
constexpr double kMaxVolume = 4096.0 * 4096 * 255;
constexpr uint32_t kMaxClasses = 256, kMaxLevels = 8, kMaxStride = 64, kMaxLayers = 64, kMaxWidth = 4096,
                   kMaxPointsPerVoxel = 1024, kMaxPointFeatures = 64, kMaxVoxels = 10'000'000, kMaxConvs = 8,
                   kMaxObjects = 100'000, kMaxProposals = 4096, kMaxPoolSize = 16, kMaxDirBins = 16,
                   kMaxAnchorsPerClass = 64;
// A cell of a proposal takes half a kilobyte, twice.
constexpr double kMaxPooledCells = 2e6;

absl::Status CheckAtMost(absl::string_view field, double value, double most) {
  if (value <= most) return absl::OkStatus();
  return Invalid(absl::StrCat(field, " is ", value, ", expected at most ", most));
}

absl::Status CheckSizes(const v1::Detector& d) {
  const auto largest = [](const auto& values) {
    return values.empty() ? 0.0 : static_cast<double>(*std::max_element(values.begin(), values.end()));
  };
  const v1::BevBackbone& b = d.backbone_2d();
  const v1::CenterHead& head = d.dense_head();
  const v1::VoxelBackbone& voxels = d.backbone_3d();
  const std::tuple<const char*, double, double> sizes[] = {
      {"the number of class_names", d.class_names_size(), kMaxClasses},
      {"num_point_features", d.num_point_features(), kMaxPointFeatures},
      {"max_points_per_voxel", d.max_points_per_voxel(), kMaxPointsPerVoxel},
      {"max_voxels_train", d.max_voxels_train(), kMaxVoxels},
      {"max_voxels_test", d.max_voxels_test(), kMaxVoxels},
      {"the number of vfe.num_filters", d.vfe().num_filters_size(), kMaxLevels},
      {"vfe.num_filters", largest(d.vfe().num_filters()), kMaxWidth},
      {"the number of backbone_2d.layer_nums", b.layer_nums_size(), kMaxLevels},
      {"backbone_2d.layer_nums", largest(b.layer_nums()), kMaxLayers},
      {"backbone_2d.layer_strides", largest(b.layer_strides()), kMaxStride},
      {"backbone_2d.num_filters", largest(b.num_filters()), kMaxWidth},
      {"backbone_2d.upsample_strides", largest(b.upsample_strides()), kMaxStride},
      {"backbone_2d.num_upsample_filters", largest(b.num_upsample_filters()), kMaxWidth},
      {"backbone_3d.layer_nums", largest(voxels.layer_nums()), kMaxLayers},
      {"the number of backbone_3d.num_filters", voxels.num_filters_size(), 6 * kMaxLayers},
      {"backbone_3d.num_filters", largest(voxels.num_filters()), kMaxWidth},
      {"the number of anchor_head.anchors", d.anchor_head().anchors_size(), kMaxClasses},
      {"anchor_head.num_dir_bins", d.anchor_head().num_dir_bins(), kMaxDirBins},
      {"dense_head.shared_conv_channel", head.shared_conv_channel(), kMaxWidth},
      {"dense_head.num_conv", head.num_conv(), kMaxConvs},
      {"dense_head.num_max_objs", head.num_max_objs(), kMaxObjects},
      {"dense_head.min_radius", head.min_radius(), kMaxWidth}};
  for (const auto& [field, value, most] : sizes) KD_RETURN_IF_ERROR(CheckAtMost(field, value, most));
  return absl::OkStatus();
}

// Heads share the classes out.
absl::Status CheckHeads(const v1::Detector& d) {
  if (d.dense_head().class_names_each_head().empty()) return absl::OkStatus();
  std::set<std::string> in_heads;
  for (const auto& group : d.dense_head().class_names_each_head()) {
    for (const std::string& name : group.class_names()) {
      const std::string quoted =
          absl::StrCat("dense_head.class_names_each_head: \"", absl::CHexEscape(name.substr(0, 60)), "\" ");
      if (std::find(d.class_names().begin(), d.class_names().end(), name) == d.class_names().end()) {
        return Invalid(absl::StrCat(quoted, "is not one of class_names"));
      }
      if (!in_heads.insert(name).second) return Invalid(absl::StrCat(quoted, "stands there twice"));
    }
  }
  if (static_cast<int>(in_heads.size()) == d.class_names_size()) return absl::OkStatus();
  return Invalid(absl::StrCat("dense_head.class_names_each_head has ", in_heads.size(), " of ", d.class_names_size(),
                              " classes, expected every one"));
}

// Cells along x and y must divide by what the backbone halves, or its levels could not be joined.
int64_t StrideProduct(const v1::Detector& detector) {
  int64_t product = detector.has_backbone_3d() ? kVoxelStride : 1;
  for (const uint32_t stride : detector.backbone_2d().layer_strides()) product *= stride;
  return product;
}

bool TwoStages(absl::string_view model) { return model == "part_a2" || model == "pv_rcnn" || model == "voxel_rcnn"; }
bool OnVoxels(absl::string_view model) { return model == "centerpoint_voxel" || model == "second" || TwoStages(model); }
bool WithAnchors(absl::string_view model) { return model == "pointpillar" || model == "second" || TwoStages(model); }

template <typename Values>
bool AllPositive(const Values& values) {
  return std::all_of(values.begin(), values.end(), [](auto v) { return v > 0; });
}

// Sub-modules of the 3D backbone that each have a width.
int64_t SubModules(const v1::VoxelBackbone& b) {
  int64_t count = 0;
  for (const uint32_t layers : b.layer_nums()) count += layers;
  return count;
}

// Voxels along an axis, before they are rounded to whole ones.
double Extent(const v1::Detector& d, int axis) {
  return (double{d.point_cloud_range(axis + 3)} - d.point_cloud_range(axis)) / d.voxel_size(axis);
}

// Whether they are `multiple` or some times as many, as well as float32 and seven written digits can say.
bool IsMultiple(double voxels, int64_t multiple) {
  const double whole = std::round(voxels);
  return whole >= 1 && std::abs(voxels - whole) <= std::max(1e-3, voxels * 1e-6) &&
         static_cast<int64_t>(whole) % multiple == 0;
}

// Names the nearest range with this voxel, which trained weights need, and the nearest voxel with this range.
absl::Status CheckExtent(const v1::Detector& d, int axis, int64_t multiple) {
  const double voxels = Extent(d, axis), voxel = d.voxel_size(axis);
  if (IsMultiple(voxels, multiple)) return absl::OkStatus();
  const double low = d.point_cloud_range(axis), high = d.point_cloud_range(axis + 3);
  const double nearest =
      std::max(1.0, std::round(voxels / static_cast<double>(multiple))) * static_cast<double>(multiple);
  // A range around 0 stays so.
  const double low_then = low == -high ? -nearest * voxel / 2 : low;
  const char name = "xyz"[axis];
  return Invalid(absl::StrFormat(
      "point_cloud_range from %.7g to %.7g along %c has %.7g voxels of %.7g m, expected %s; nearest are "
      "a range from %.7g to %.7g with that voxel, and a voxel_size of %.7g with that range (%d voxels)",
      low, high, name, voxels, voxel,
      multiple == 1 ? "a whole number" : absl::StrCat("a multiple of the backbone's strides (", multiple, ")"),
      low_then, low_then + nearest * voxel, (high - low) / nearest, static_cast<int64_t>(nearest)));
}

absl::Status CheckEncoder(const v1::Detector& d, const std::array<int, 3>& cells) {
  if (!OnVoxels(d.model())) {
    if (d.has_backbone_3d()) return Invalid(absl::StrCat("model ", d.model(), " has no backbone_3d; leave it out"));
    if (cells[2] != 1 || !IsMultiple(Extent(d, 2), 1)) {
      return Invalid(absl::StrCat("pillars span the whole height: voxel_size z must be ",
                                  d.point_cloud_range(5) - d.point_cloud_range(2)));
    }
    if (d.vfe().num_filters().empty()) return Invalid("vfe.num_filters is empty");
    if (!AllPositive(d.vfe().num_filters())) return Invalid("widths and strides must be at least 1");
    return absl::OkStatus();
  }
  if (d.has_vfe()) return Invalid(absl::StrCat("model ", d.model(), " has no vfe; leave it out"));
  const v1::VoxelBackbone& b = d.backbone_3d();
  if (b.layer_nums_size() != 6 || !AllPositive(b.layer_nums()) || b.layer_nums(0) != 1 || b.layer_nums(5) != 1) {
    return Invalid("backbone_3d.layer_nums needs 6 numbers of at least 1, the first and the last of them 1");
  }
  if ((b.num_filters_size() != 6 && b.num_filters_size() != SubModules(b)) || !AllPositive(b.num_filters())) {
    return Invalid(absl::StrCat("backbone_3d.num_filters needs 6 widths, one per stage, or ", SubModules(b),
                                ", one per sub-module"));
  }
  // The grid is one cell higher; four strided layers need a cell each in the end.
  if (cells[2] < 24)
    return Invalid(
        absl::StrCat("the grid has ", cells[2], " cells along z, expected at least 24 (40 in released models)"));
  return absl::OkStatus();
}

absl::Status CheckCaps(const v1::Detector& d) {
  const std::array<uint32_t, 3> caps = {d.max_points_per_voxel(), d.max_voxels_train(), d.max_voxels_test()};
  if (AllPositive(caps)) return absl::OkStatus();
  // What was not written asks for nothing.
  const bool none = d.has_max_points_per_voxel() && caps[0] + caps[1] + caps[2] == 0;
  if (none && !OnVoxels(d.model())) return absl::OkStatus();
  return Invalid(
      "max_points_per_voxel, max_voxels_train and max_voxels_test must be at least 1, or all of them 0 for pillars "
      "without limits");
}

// Voxels per cell of the head's map.
uint32_t HeadStride(const v1::Detector& d) {
  return d.has_anchor_head() ? d.anchor_head().feature_map_stride() : d.dense_head().feature_map_stride();
}

absl::Status CheckAnchors(const v1::Detector& d) {
  const v1::AnchorHead& head = d.anchor_head();
  if (head.anchors_size() != d.class_names_size()) {
    return Invalid(absl::StrCat("anchor_head.anchors has ", head.anchors_size(), " entries, expected one per class (",
                                d.class_names_size(), ")"));
  }
  for (int i = 0; i < head.anchors_size(); ++i) {
    const v1::AnchorHead::Anchors& a = head.anchors(i);
    const std::string at = absl::StrCat("anchor_head.anchors[", i, "]");
    if (a.class_name() != d.class_names(i)) {
      return Invalid(absl::StrCat(at, ".class_name is \"", absl::CHexEscape(a.class_name().substr(0, 60)),
                                  "\", expected \"", absl::CHexEscape(d.class_names(i).substr(0, 60)),
                                  "\": anchors stand in the order of class_names"));
    }
    if (a.sizes().empty() || a.sizes_size() % 3 != 0 || !AllPositive(a.sizes()) || a.rotations().empty()) {
      return Invalid(absl::StrCat(at, " needs sizes (dx, dy, dz above 0) and rotations"));
    }
    KD_RETURN_IF_ERROR(CheckAtMost(absl::StrCat("the number of ", at),
                                   double{1} * (a.sizes_size() / 3) * a.rotations_size(), kMaxAnchorsPerClass));
    if (!(a.matched_threshold() > 0) || a.unmatched_threshold() > a.matched_threshold()) {
      return Invalid(absl::StrCat(at, ": matched_threshold must be above 0 and not below unmatched_threshold"));
    }
  }
  if (head.use_direction_classifier() && head.num_dir_bins() < 1)
    return Invalid("anchor_head.num_dir_bins must be at least 1");
  if (!head.code_weights().empty() && head.code_weights_size() != 7)
    return Invalid("anchor_head.code_weights needs 7 numbers");
  return absl::OkStatus();
}

absl::Status CheckKeypointSources(const v1::Detector& d) {
  std::set<std::string> seen;
  for (const std::string& source : d.roi_head().features_source()) {
    const std::string quoted =
        absl::StrCat("roi_head.features_source: \"", absl::CHexEscape(source.substr(0, 60)), "\" ");
    if (std::find(std::begin(kKeypointSources), std::end(kKeypointSources), source) == std::end(kKeypointSources))
      return Invalid(absl::StrCat(quoted, "is not known; use some of ", absl::StrJoin(kKeypointSources, ", ")));
    if (!seen.insert(source).second) return Invalid(absl::StrCat(quoted, "stands there twice"));
  }
  if (seen.empty() || d.model() == "pv_rcnn") return absl::OkStatus();
  return Invalid(absl::StrCat("model ", d.model(), " has no keypoints; leave roi_head.features_source out"));
}

absl::Status CheckSecondStage(const v1::Detector& d) {
  const v1::RoiHead& head = d.roi_head();
  if (!TwoStages(d.model())) {
    return d.has_roi_head() ? Invalid(absl::StrCat("model ", d.model(), " has no roi_head; leave it out"))
                            : absl::OkStatus();
  }
  if (d.backbone_3d().residual())
    return Invalid(absl::StrCat("model ", d.model(), " stands on backbone_3d.residual: false"));
  if (head.nms_pre_maxsize() < 1 || head.nms_post_maxsize() < 1 || head.num_keypoints() < 1) {
    return Invalid("roi_head: nms_pre_maxsize, nms_post_maxsize and num_keypoints must be at least 1");
  }
  KD_RETURN_IF_ERROR(CheckKeypointSources(d));
  KD_RETURN_IF_ERROR(CheckAtMost("roi_head.nms_post_maxsize", head.nms_post_maxsize(), kMaxProposals));
  KD_RETURN_IF_ERROR(CheckAtMost("roi_head.num_keypoints", head.num_keypoints(), kMaxObjects));
  if (d.model() != "part_a2") return absl::OkStatus();
  if (head.pool_size() < 1) return Invalid("roi_head.pool_size must be at least 1");
  KD_RETURN_IF_ERROR(CheckAtMost("roi_head.pool_size", head.pool_size(), kMaxPoolSize));
  return CheckAtMost("roi_head.nms_post_maxsize times pool_size cubed",
                     head.nms_post_maxsize() * std::pow(head.pool_size(), 3.0), kMaxPooledCells);
}

absl::Status CheckHead(const v1::Detector& d) {
  KD_RETURN_IF_ERROR(CheckSecondStage(d));
  if (WithAnchors(d.model())) {
    if (d.has_dense_head())
      return Invalid(absl::StrCat("model ", d.model(), " has an anchor_head and no dense_head; leave that out"));
    return CheckAnchors(d);
  }
  if (d.has_anchor_head())
    return Invalid(absl::StrCat("model ", d.model(), " has a dense_head and no anchor_head; leave that out"));
  const v1::CenterHead& head = d.dense_head();
  if (head.shared_conv_channel() < 1 || head.num_conv() < 1 || head.num_max_objs() < 1) {
    return Invalid("dense_head: shared_conv_channel, num_conv and num_max_objs must be at least 1");
  }
  return absl::OkStatus();
}

}  // namespace

std::array<int, 3> GridCells(const v1::Detector& detector) {
  std::array<int, 3> cells{};
  for (int axis = 0; axis < 3; ++axis) {
    cells[axis] = static_cast<int>(std::lround(
        (detector.point_cloud_range(axis + 3) - detector.point_cloud_range(axis)) / detector.voxel_size(axis)));
  }
  return cells;
}

bool HasDynamicPillars(const v1::Detector& detector) {
  return detector.has_vfe() && detector.max_points_per_voxel() == 0;
}

bool HasAbsoluteXyz(const v1::PillarVfe& vfe) { return !vfe.has_use_absolute_xyz() || vfe.use_absolute_xyz(); }

// 2: keypoints of PV-RCNN take the first voxels of x_conv1 around them in the order that the batch has.
uint32_t AnswersRevision(const v1::Detector& detector) { return detector.model() == "pv_rcnn" ? 2 : 1; }

float FeatureMapStride(const v1::Detector& detector) { return static_cast<float>(std::max(1u, HeadStride(detector))); }

absl::Status ValidateDetector(const v1::Detector& detector) {
  if (const auto& models = kModels;
      std::find(std::begin(models), std::end(models), detector.model()) == std::end(models)) {
    return Invalid(absl::StrCat("model \"", absl::CHexEscape(detector.model().substr(0, 60)),
                                "\" is not known; use one of ", absl::StrJoin(models, ", ")));
  }
  if (detector.class_names().empty()) return Invalid("class_names is empty");
  if (detector.point_cloud_range_size() != 6) return Invalid("point_cloud_range needs 6 numbers");
  if (detector.voxel_size_size() != 3) return Invalid("voxel_size needs 3 numbers");
  for (int axis = 0; axis < 3; ++axis) {
    const float extent = detector.point_cloud_range(axis + 3) - detector.point_cloud_range(axis);
    if (!(extent > 0) || !(detector.voxel_size(axis) > 0) || extent / detector.voxel_size(axis) > 16384) {
      return Invalid(absl::StrCat("axis ", axis, ": a range of ", extent, " m in voxels of ", detector.voxel_size(axis),
                                  " m; the range must be positive and at most 16384 voxels"));
    }
  }
  KD_RETURN_IF_ERROR(CheckSizes(detector));
  KD_RETURN_IF_ERROR(CheckHeads(detector));
  const std::array<int, 3> cells = GridCells(detector);
  KD_RETURN_IF_ERROR(CheckAtMost("the number of pillars", static_cast<double>(cells[0]) * cells[1], kMaxCells));
  KD_RETURN_IF_ERROR(
      CheckAtMost("the number of cells", static_cast<double>(cells[0]) * cells[1] * cells[2], kMaxVolume));
  KD_RETURN_IF_ERROR(CheckEncoder(detector, cells));
  if (detector.num_point_features() < 4) return Invalid("num_point_features must be at least 4 (x, y, z, intensity)");
  KD_RETURN_IF_ERROR(CheckCaps(detector));
  const v1::BevBackbone& b = detector.backbone_2d();
  const int levels = b.layer_nums_size();
  if (levels == 0 || b.layer_strides_size() != levels || b.num_filters_size() != levels ||
      b.upsample_strides_size() != levels || b.num_upsample_filters_size() != levels) {
    return Invalid(
        "backbone_2d: layer_nums, layer_strides, num_filters, upsample_strides and num_upsample_filters need one value "
        "per level");
  }
  if (!AllPositive(b.layer_strides()) || !AllPositive(b.num_filters()) || !AllPositive(b.upsample_strides()) ||
      !AllPositive(b.num_upsample_filters())) {
    return Invalid("widths and strides must be at least 1");
  }
  for (int axis = 0; axis < 3; ++axis)
    KD_RETURN_IF_ERROR(CheckExtent(detector, axis, axis == 2 ? 1 : StrideProduct(detector)));
  KD_RETURN_IF_ERROR(CheckHead(detector));
  const float scale =
      static_cast<float>(b.layer_strides(0)) / b.upsample_strides(0) * (detector.has_backbone_3d() ? kVoxelStride : 1);
  if (std::abs(scale - static_cast<float>(HeadStride(detector))) > 1e-4f) {
    return Invalid(absl::StrCat(detector.has_anchor_head() ? "anchor_head" : "dense_head", ".feature_map_stride is ",
                                HeadStride(detector), " but the backbone's map has a stride of ", scale));
  }
  if (!detector.post_processing().post_center_limit_range().empty() &&
      detector.post_processing().post_center_limit_range_size() != 6) {
    return Invalid("post_processing.post_center_limit_range needs 6 numbers");
  }
  return absl::OkStatus();
}

namespace {

// A list that is written replaces the base's list instead of continuing it.
void ClearListsOf(const google::protobuf::Message& own, google::protobuf::Message& base) {
  const auto* reflection = own.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> written;
  reflection->ListFields(own, &written);
  for (const auto* field : written) {
    if (field->is_repeated()) {
      base.GetReflection()->ClearField(&base, field);
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      ClearListsOf(reflection->GetMessage(own, field), *base.GetReflection()->MutableMessage(&base, field));
    }
  }
}

}  // namespace

absl::StatusOr<v1::Detector> MakeStudentDetector(const v1::Detector& base, const v1::StudentSpec& student) {
  v1::Detector d = base;
  const v1::Detector& own = student.detector();
  ClearListsOf(own, d);
  d.MergeFrom(own);

  const v1::Compress& compress = student.compress();
  const auto factor = [](float value) { return value > 0 ? value : 1.0f; };
  const v1::Compress::Width& width = compress.width();
  if (d.has_vfe()) ScaleAll(d.mutable_vfe()->mutable_num_filters(), factor(width.pfn()));
  if (d.has_backbone_3d()) ScaleAll(d.mutable_backbone_3d()->mutable_num_filters(), factor(width.pfn()));
  ScaleAll(d.mutable_backbone_2d()->mutable_num_filters(), factor(width.backbone()));
  ScaleAll(d.mutable_backbone_2d()->mutable_num_upsample_filters(), factor(width.neck()));
  if (d.has_dense_head()) {
    d.mutable_dense_head()->set_shared_conv_channel(Scaled(d.dense_head().shared_conv_channel(), factor(width.head())));
  }
  if (const float depth = factor(compress.depth()); depth < 1) {
    for (auto& layers : *d.mutable_backbone_2d()->mutable_layer_nums()) {
      layers = static_cast<uint32_t>(std::floor(layers * static_cast<double>(depth) + 1e-6));
    }
  }
  if (const float resolution = factor(compress.resolution()); resolution < 1) {
    for (int axis = 0; axis < 2; ++axis) d.set_voxel_size(axis, d.voxel_size(axis) / resolution);
    d.set_max_points_per_voxel(static_cast<uint32_t>(std::ceil(d.max_points_per_voxel() / resolution - 1e-4)));
  }
  KD_RETURN_IF_ERROR(Annotate(ValidateDetector(d), "student"));
  if (d.has_roi_head()) {
    return Annotate(Invalid(absl::StrCat("model ", d.model(),
                                         " has two stages and serves as a teacher only; name another student.model")),
                    "student");
  }
  return d;
}

absl::StatusOr<v1::Detector> DetectorOf(const SafeTensorsFile& file) {
  const auto json = file.metadata.find(kWeightsDetectorKey);
  if (json == file.metadata.end()) {
    return absl::InvalidArgumentError(
        "weights carry no detector description (metadata \"kd.detector\"); use a file that kdfleet wrote");
  }
  v1::Detector detector;
  if (const auto status = google::protobuf::util::JsonStringToMessage(json->second, &detector); !status.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metadata \"kd.detector\" cannot be read: ", absl::CHexEscape(std::string(status.message()).substr(0, 200)),
        "; use a file that kdfleet wrote"));
  }
  KD_RETURN_IF_ERROR(ValidateDetector(detector));
  return detector;
}

}  // namespace kd
