#include "core/detector_config.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "google/protobuf/util/json_util.h"

namespace kd {
namespace {

template <typename T, typename Repeated>
void Set(Repeated* field, std::initializer_list<T> values) {
  field->Clear();
  for (const T value : values) field->Add(value);
}

// What all built-ins share: OpenPCDet's CenterPoint on pillars.
v1::Detector Common() {
  v1::Detector d;
  d.set_model("centerpoint_pillar");
  d.set_num_point_features(4);
  d.mutable_vfe()->set_use_norm(true);
  d.mutable_vfe()->set_bn_eps(1e-3f);
  d.mutable_vfe()->set_bn_momentum(0.01f);
  d.mutable_backbone_2d()->set_bn_eps(1e-3f);
  d.mutable_backbone_2d()->set_bn_momentum(0.01f);
  v1::CenterHead* head = d.mutable_dense_head();
  head->set_shared_conv_channel(64);
  head->set_use_bias_before_norm(true);
  head->set_num_conv(2);
  head->set_num_max_objs(500);
  head->set_gaussian_overlap(0.1f);
  head->set_min_radius(2);
  head->set_cls_weight(1);
  head->set_loc_weight(2);
  head->set_bn_eps(1e-5f);
  head->set_bn_momentum(0.1f);
  v1::PostProcessing* post = d.mutable_post_processing();
  post->set_score_thresh(0.1f);
  post->set_max_obj_per_sample(500);
  post->set_nms_thresh(0.7f);
  post->set_nms_pre_maxsize(4096);
  post->set_nms_post_maxsize(500);
  return d;
}

// SparseKD's CP-Pillar teacher (kd-methods.md section 2.1).
v1::Detector Waymo() {
  v1::Detector d = Common();
  for (const char* name : {"Vehicle", "Pedestrian", "Cyclist"}) d.add_class_names(name);
  d.set_num_point_features(5);
  Set(d.mutable_point_cloud_range(), {-74.24f, -74.24f, -2.0f, 74.24f, 74.24f, 4.0f});
  Set(d.mutable_voxel_size(), {0.32f, 0.32f, 6.0f});
  d.set_max_points_per_voxel(20);
  d.set_max_voxels_train(150000);
  d.set_max_voxels_test(150000);
  Set(d.mutable_vfe()->mutable_num_filters(), {64u, 64u});
  v1::BevBackbone* b = d.mutable_backbone_2d();
  Set(b->mutable_layer_nums(), {3u, 5u, 5u});
  Set(b->mutable_layer_strides(), {1u, 2u, 2u});
  Set(b->mutable_num_filters(), {64u, 128u, 256u});
  Set(b->mutable_upsample_strides(), {1.0f, 2.0f, 4.0f});
  Set(b->mutable_num_upsample_filters(), {128u, 128u, 128u});
  d.mutable_dense_head()->set_feature_map_stride(1);
  Set(d.mutable_post_processing()->mutable_post_center_limit_range(), {-80.0f, -80.0f, -10.0f, 80.0f, 80.0f, 10.0f});
  return d;
}

// OpenPCDet's KITTI pillar range and caps with a centre head.
v1::Detector Kitti() {
  v1::Detector d = Common();
  for (const char* name : {"Car", "Pedestrian", "Cyclist"}) d.add_class_names(name);
  Set(d.mutable_point_cloud_range(), {0.0f, -39.68f, -3.0f, 69.12f, 39.68f, 1.0f});
  Set(d.mutable_voxel_size(), {0.16f, 0.16f, 4.0f});
  d.set_max_points_per_voxel(32);
  d.set_max_voxels_train(16000);
  d.set_max_voxels_test(40000);
  Set(d.mutable_vfe()->mutable_num_filters(), {64u});
  v1::BevBackbone* b = d.mutable_backbone_2d();
  Set(b->mutable_layer_nums(), {3u, 5u, 5u});
  Set(b->mutable_layer_strides(), {2u, 2u, 2u});
  Set(b->mutable_num_filters(), {64u, 128u, 256u});
  Set(b->mutable_upsample_strides(), {1.0f, 2.0f, 4.0f});
  Set(b->mutable_num_upsample_filters(), {128u, 128u, 128u});
  d.mutable_dense_head()->set_feature_map_stride(2);
  v1::PostProcessing* post = d.mutable_post_processing();
  Set(post->mutable_post_center_limit_range(), {0.0f, -40.0f, -3.0f, 70.4f, 40.0f, 1.0f});
  post->set_nms_thresh(0.1f);
  return d;
}

// The small one of docs/benchmark.md, for simulated frames on a CPU.
v1::Detector Sim() {
  v1::Detector d = Common();
  for (const char* name : {"Car", "Pedestrian", "Cyclist"}) d.add_class_names(name);
  Set(d.mutable_point_cloud_range(), {0.0f, -19.2f, -3.0f, 38.4f, 19.2f, 2.0f});
  Set(d.mutable_voxel_size(), {0.3f, 0.3f, 5.0f});
  d.set_max_points_per_voxel(8);
  d.set_max_voxels_train(16384);
  d.set_max_voxels_test(16384);
  Set(d.mutable_vfe()->mutable_num_filters(), {32u});
  d.mutable_vfe()->set_bn_momentum(0.03f);
  v1::BevBackbone* b = d.mutable_backbone_2d();
  Set(b->mutable_layer_nums(), {2u, 3u});
  Set(b->mutable_layer_strides(), {2u, 2u});
  Set(b->mutable_num_filters(), {32u, 64u});
  Set(b->mutable_upsample_strides(), {1.0f, 2.0f});
  Set(b->mutable_num_upsample_filters(), {32u, 32u});
  b->set_bn_momentum(0.03f);
  v1::CenterHead* head = d.mutable_dense_head();
  head->set_shared_conv_channel(32);
  head->set_feature_map_stride(2);
  head->set_bn_eps(1e-3f);
  head->set_bn_momentum(0.03f);
  v1::PostProcessing* post = d.mutable_post_processing();
  Set(post->mutable_post_center_limit_range(), {0.0f, -19.2f, -3.0f, 38.4f, 19.2f, 2.0f});
  // AP counts the low scores too.
  post->set_score_thresh(0.02f);
  post->set_max_obj_per_sample(100);
  post->set_nms_per_class(true);
  post->set_nms_thresh(0.1f);
  return d;
}

uint32_t Scaled(uint32_t channels, float factor) {
  return std::max<uint32_t>(1, static_cast<uint32_t>(std::floor(static_cast<double>(channels) * factor + 1e-6)));
}

template <typename Repeated>
void ScaleAll(Repeated* widths, float factor) {
  for (auto& width : *widths) width = Scaled(width, factor);
}

absl::Status Invalid(absl::string_view problem) { return absl::InvalidArgumentError(absl::StrCat("detector: ", problem)); }

// A detector beyond these is a damaged file, not a model; building it would take all memory.
constexpr double kMaxCells = 4096 * 4096;
constexpr uint32_t kMaxClasses = 256, kMaxLevels = 8, kMaxStride = 64, kMaxLayers = 64, kMaxWidth = 4096, kMaxPointsPerVoxel = 1024,
                   kMaxPointFeatures = 64, kMaxVoxels = 10'000'000, kMaxConvs = 8, kMaxObjects = 100'000;

absl::Status CheckAtMost(absl::string_view field, double value, double most) {
  if (value <= most) return absl::OkStatus();
  return Invalid(absl::StrCat(field, " is ", value, ", expected at most ", most));
}

absl::Status CheckSizes(const v1::Detector& d) {
  const auto largest = [](const auto& values) { return values.empty() ? 0.0 : static_cast<double>(*std::max_element(values.begin(), values.end())); };
  const v1::BevBackbone& b = d.backbone_2d();
  const v1::CenterHead& head = d.dense_head();
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
      const std::string quoted = absl::StrCat("dense_head.class_names_each_head: \"", absl::CHexEscape(name.substr(0, 60)), "\" ");
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
  int64_t product = 1;
  for (const uint32_t stride : detector.backbone_2d().layer_strides()) product *= stride;
  return product;
}

}  // namespace

absl::StatusOr<v1::Detector> BuiltInDetector(absl::string_view name) {
  if (name == "centerpoint_pillar") return Waymo();
  if (name == "centerpoint_pillar_kitti") return Kitti();
  if (name == "centerpoint_pillar_sim") return Sim();
  return absl::NotFoundError(absl::StrCat("no built-in detector \"", name,
                                          "\"; there are centerpoint_pillar, centerpoint_pillar_kitti and centerpoint_pillar_sim"));
}

std::array<int, 3> GridCells(const v1::Detector& detector) {
  std::array<int, 3> cells{};
  for (int axis = 0; axis < 3; ++axis) {
    cells[axis] = static_cast<int>(std::lround((detector.point_cloud_range(axis + 3) - detector.point_cloud_range(axis)) /
                                               detector.voxel_size(axis)));
  }
  return cells;
}

absl::Status ValidateDetector(const v1::Detector& detector) {
  if (detector.model() != "centerpoint_pillar") {
    return Invalid(absl::StrCat("model \"", absl::CHexEscape(detector.model().substr(0, 60)), "\" is not known; use centerpoint_pillar"));
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
  if (cells[2] != 1) return Invalid(absl::StrCat("pillars span the whole height: voxel_size z must be ",
                                                 detector.point_cloud_range(5) - detector.point_cloud_range(2)));
  if (detector.num_point_features() < 4) return Invalid("num_point_features must be at least 4 (x, y, z, intensity)");
  if (detector.max_points_per_voxel() < 1 || detector.max_voxels_train() < 1 || detector.max_voxels_test() < 1) {
    return Invalid("max_points_per_voxel, max_voxels_train and max_voxels_test must be at least 1");
  }
  if (detector.vfe().num_filters().empty()) return Invalid("vfe.num_filters is empty");
  const v1::BevBackbone& b = detector.backbone_2d();
  const int levels = b.layer_nums_size();
  if (levels == 0 || b.layer_strides_size() != levels || b.num_filters_size() != levels ||
      b.upsample_strides_size() != levels || b.num_upsample_filters_size() != levels) {
    return Invalid("backbone_2d: layer_nums, layer_strides, num_filters, upsample_strides and num_upsample_filters need one value per level");
  }
  const auto positive = [](const auto& values) { return std::all_of(values.begin(), values.end(), [](auto v) { return v > 0; }); };
  if (!positive(b.layer_strides()) || !positive(b.num_filters()) || !positive(b.upsample_strides()) ||
      !positive(b.num_upsample_filters()) || !positive(detector.vfe().num_filters())) {
    return Invalid("widths and strides must be at least 1");
  }
  const int64_t product = StrideProduct(detector);
  for (int axis = 0; axis < 2; ++axis) {
    if (cells[axis] % product != 0) {
      const int64_t nearest = std::max<int64_t>(1, (cells[axis] + product / 2) / product) * product;
      return Invalid(absl::StrCat("the grid has ", cells[axis], " cells along ", axis == 0 ? "x" : "y",
                                  ", which does not divide by the backbone's strides (", product, "); the nearest that does has ",
                                  nearest, " cells: a voxel of ",
                                  (detector.point_cloud_range(axis + 3) - detector.point_cloud_range(axis)) / nearest, " m"));
    }
  }
  if (detector.dense_head().shared_conv_channel() < 1 || detector.dense_head().num_conv() < 1 ||
      detector.dense_head().feature_map_stride() < 1 || detector.dense_head().num_max_objs() < 1) {
    return Invalid("dense_head: shared_conv_channel, num_conv, feature_map_stride and num_max_objs must be at least 1");
  }
  float scale = static_cast<float>(b.layer_strides(0)) / b.upsample_strides(0);
  if (std::abs(scale - static_cast<float>(detector.dense_head().feature_map_stride())) > 1e-4f) {
    return Invalid(absl::StrCat("dense_head.feature_map_stride is ", detector.dense_head().feature_map_stride(),
                                " but the backbone's map has a stride of ", scale));
  }
  if (detector.dense_head().with_velocity()) {
    return Invalid("dense_head.with_velocity is true, but no data set here has velocities; leave it out");
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
  ScaleAll(d.mutable_vfe()->mutable_num_filters(), factor(width.pfn()));
  ScaleAll(d.mutable_backbone_2d()->mutable_num_filters(), factor(width.backbone()));
  ScaleAll(d.mutable_backbone_2d()->mutable_num_upsample_filters(), factor(width.neck()));
  d.mutable_dense_head()->set_shared_conv_channel(Scaled(d.dense_head().shared_conv_channel(), factor(width.head())));
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
  return d;
}

absl::StatusOr<v1::Detector> DetectorOf(const SafeTensorsFile& file) {
  const auto json = file.metadata.find(kWeightsDetectorKey);
  if (json == file.metadata.end()) {
    return absl::InvalidArgumentError("weights carry no detector description (metadata \"kd.detector\"); use a file that kdfleet wrote");
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
