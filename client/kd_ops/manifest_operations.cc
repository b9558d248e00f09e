// State dictionaries of the configurations that OpenPCDet, SparseKD and CaKDP released.
#include <array>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "client/kd_ops/module_case.h"
#include "client/kd_ops/operation.h"
#include "core/detector_config.h"
#include "models/detector.h"

namespace kd {
namespace {

// The built-in detector with the widths that configurations of `architecture` (MODEL.NAME) share in the folder of
// `file`.
const char* BuiltInOf(const std::string& architecture, const std::string& file, bool pillars) {
  if (architecture == "SECONDNet") return "second_kitti";
  if (architecture == "PVRCNN") return "pv_rcnn_kitti";
  if (architecture == "VoxelRCNN") return "voxel_rcnn_kitti";
  if (architecture == "PartA2Net") return "part_a2_kitti";
  if (architecture == "PointPillar") return absl::StrContains(file, "/waymo_") ? "pointpillar" : "pointpillar_kitti";
  TORCH_CHECK(architecture == "CenterPoint", file, ": no detector here is a ", architecture,
              "; known are CenterPoint, PartA2Net, PointPillar, PVRCNN, SECONDNet and VoxelRCNN");
  if (pillars) return "centerpoint_pillar";
  if (absl::StrContains(file, "/kitti_")) return "centerpoint_voxel_kitti";
  return absl::StrContains(file, "/nuscenes_") ? "centerpoint_voxel_nuscenes" : "centerpoint_voxel";
}

// Width factors of the 3D backbone, and of BEV backbone, neck and head (kd-methods.md section 2.1).
void Widen(v1::Detector& d, float voxels, float map) {
  const auto widen = [](auto* widths, float factor) {
    for (auto& width : *widths) width = static_cast<uint32_t>(static_cast<float>(width) * factor);
  };
  if (d.has_backbone_3d()) widen(d.mutable_backbone_3d()->mutable_num_filters(), voxels);
  widen(d.mutable_backbone_2d()->mutable_num_filters(), map);
  widen(d.mutable_backbone_2d()->mutable_num_upsample_filters(), map);
  if (!d.has_dense_head()) return;
  v1::CenterHead* head = d.mutable_dense_head();
  head->set_shared_conv_channel(static_cast<uint32_t>(static_cast<float>(head->shared_conv_channel()) * map));
}

struct Change {
  // Part of the configuration's path.
  const char* path;
  void (*apply)(v1::Detector&);
};

// What configurations change of their architecture. Their teachers change nothing.
constexpr Change kChanges[] = {
    {"/cp-voxel-s", [](v1::Detector& d) { Widen(d, 1, 0.5f); }},
    {"/cp-voxel-xs", [](v1::Detector& d) { Widen(d, 0.75f, 0.5f); }},
    {"/cp-voxel-xxs", [](v1::Detector& d) { Widen(d, 0.5f, 0.25f); }},
    {"/voxel_rcnn_car.yaml", [](v1::Detector& d) { Widen(d, 1, 0.5f); }},
    {"/waymo_models/pv_rcnn.yaml",
     [](v1::Detector& d) {
       for (const char* source : {"bev", "x_conv3", "x_conv4", "raw_points"})
         d.mutable_roi_head()->add_features_source(source);
     }},
    {"/waymo_models/PartA2.yaml", [](v1::Detector& d) { d.mutable_roi_head()->set_pool_size(10); }},
    {"/centerpoint_without_resnet.yaml",
     [](v1::Detector& d) { *d.mutable_backbone_3d() = BuiltInDetector("centerpoint_voxel_kitti")->backbone_3d(); }},
    {"/centerpoint_4frames.yaml", [](v1::Detector& d) { d.mutable_dense_head()->set_with_velocity(true); }},
    {"/cbgs_dyn_pp_centerpoint.yaml",
     [](v1::Detector& d) {
       *d.mutable_dense_head() = BuiltInDetector("centerpoint_voxel_nuscenes")->dense_head();
       d.mutable_dense_head()->set_feature_map_stride(4);
       const std::array<float, 3> upsample_strides{0.5f, 1, 2};
       d.mutable_backbone_2d()->mutable_upsample_strides()->Assign(upsample_strides.begin(), upsample_strides.end());
     }},
    // CaKDP prunes after it has built: every student begins with all channels.
    {"/kitti_cakdp/", [](v1::Detector& d) {
       if (d.has_anchor_head()) {
         d.mutable_anchor_head()->set_with_iou(true);
       } else {
         d.mutable_dense_head()->set_with_iou(true);
       }
     }}};

// The detector of a released configuration, with the classes, points and grid that the case names.
v1::Detector ReleasedDetector(const OperationCase& c) {
  const nlohmann::json& h = c.hyper;
  const auto where = c.document.at("source").at("where").get<std::string>();
  const size_t colon = where.rfind(':');
  TORCH_CHECK(colon != std::string::npos, "source.where is ", where, ", expected FILE:SECTION");
  const std::string file = where.substr(0, colon), section = where.substr(colon + 1);
  const bool pillars = h.at("grid_size").at(2).get<int64_t>() == 1;
  v1::Detector d = *BuiltInDetector(BuiltInOf(h.at("detector").get<std::string>(), file, pillars));
  const auto range = Floats<6>(h.at("point_cloud_range"));
  d.mutable_point_cloud_range()->Assign(range.begin(), range.end());
  const auto voxel_size = Floats<3>(h.at("voxel_size"));
  d.mutable_voxel_size()->Assign(voxel_size.begin(), voxel_size.end());
  d.set_num_point_features(h.at("point_features").get<uint32_t>());
  const auto class_names = h.at("class_names").get<std::vector<std::string>>();
  d.mutable_class_names()->Assign(class_names.begin(), class_names.end());
  if (d.has_anchor_head()) {
    // Every class has one size in two directions; which size leaves no trace in the state.
    const v1::AnchorHead::Anchors anchors = d.anchor_head().anchors(0);
    d.mutable_anchor_head()->clear_anchors();
    for (const std::string& name : class_names) {
      *d.mutable_anchor_head()->add_anchors() = anchors;
      d.mutable_anchor_head()->mutable_anchors()->rbegin()->set_class_name(name);
    }
  }
  for (const Change& change : kChanges) {
    if (section == "MODEL" && absl::StrContains(file, change.path)) change.apply(d);
  }
  return d;
}

// Names, types and shapes of a whole state dictionary, in order. OpenPCDet's step counter is no part of the network.
TensorMap ManifestCase(const OperationCase& c) {
  DetectorModel model(ReleasedDetector(c));
  const auto state = StateOf(*model);
  size_t at = 0;
  for (const nlohmann::json& want : c.document.at("state")) {
    const auto name = want.at(0).get<std::string>();
    if (name == "global_step") continue;
    TORCH_CHECK(at < state.size(), name, " is missing");
    const auto& [own_name, tensor] = state[at++];
    TORCH_CHECK(own_name == name, "entry ", at, " is ", own_name, ", expected ", name);
    TORCH_CHECK(tensor.sizes() == want.at(2).get<std::vector<int64_t>>(), name, " has shape ", tensor.sizes(),
                ", expected ", want.at(2).dump());
    const char* const type = at::isFloatingType(tensor.scalar_type()) ? "float32" : "int64";
    TORCH_CHECK(want.at(1).get<std::string>() == type, name, " has type ", type, ", expected ", want.at(1).dump());
  }
  TORCH_CHECK(at == state.size(), state[at].first, " is not expected");
  int64_t trainable = 0;
  for (const torch::Tensor& parameter : model->parameters()) trainable += parameter.numel();
  const auto want = c.document.at("trainable_parameters").get<int64_t>();
  TORCH_CHECK(trainable == want, "the detector has ", trainable, " parameters, expected ", want);
  return {};
}

}  // namespace

void AddManifestOperations(OperationTable& table) { table["manifest"] = ManifestCase; }

}  // namespace kd
