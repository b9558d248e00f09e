// The detectors that a job may name, as OpenPCDet's configurations have them.
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/detector_config.h"

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

// Turns a model on pillars into one on voxels: the 3D backbone makes the map, 8 times coarser.
void UseVoxels(v1::Detector& d, bool residual, std::initializer_list<uint32_t> filters) {
  d.clear_vfe();
  v1::VoxelBackbone* b = d.mutable_backbone_3d();
  b->set_residual(residual);
  Set(b->mutable_layer_nums(), {1u, residual ? 2u : 1u, 3u, 3u, 3u, 1u});
  Set(b->mutable_num_filters(), filters);
  b->set_bn_eps(1e-3f);
  b->set_bn_momentum(0.01f);
  v1::BevBackbone* bev = d.mutable_backbone_2d();
  Set(bev->mutable_layer_nums(), {5u, 5u});
  Set(bev->mutable_layer_strides(), {1u, 2u});
  Set(bev->mutable_num_filters(), {128u, 256u});
  Set(bev->mutable_upsample_strides(), {1.0f, 2.0f});
  Set(bev->mutable_num_upsample_filters(), {256u, 256u});
}

// SparseKD's CP-Voxel teacher.
v1::Detector WaymoVoxel() {
  v1::Detector d = Waymo();
  d.set_model("centerpoint_voxel");
  Set(d.mutable_point_cloud_range(), {-75.2f, -75.2f, -2.0f, 75.2f, 75.2f, 4.0f});
  Set(d.mutable_voxel_size(), {0.1f, 0.1f, 0.15f});
  d.set_max_points_per_voxel(5);
  UseVoxels(d, /*residual=*/true, {16u, 16u, 32u, 64u, 128u, 128u});
  d.mutable_dense_head()->set_feature_map_stride(8);
  Set(d.mutable_post_processing()->mutable_post_center_limit_range(), {-75.2f, -75.2f, -2.0f, 75.2f, 75.2f, 4.0f});
  return d;
}

struct AnchorOf {
  const char* name;
  float dx, dy, dz, bottom, matched, unmatched;
};

// Replaces the centre head by anchors in two directions.
void UseAnchors(v1::Detector& d, uint32_t stride, std::initializer_list<AnchorOf> anchors) {
  d.clear_dense_head();
  v1::AnchorHead* head = d.mutable_anchor_head();
  for (const AnchorOf& a : anchors) {
    v1::AnchorHead::Anchors* of = head->add_anchors();
    of->set_class_name(a.name);
    Set(of->mutable_sizes(), {a.dx, a.dy, a.dz});
    Set(of->mutable_rotations(), {0.0f, 1.57f});
    of->set_bottom_height(a.bottom);
    of->set_matched_threshold(a.matched);
    of->set_unmatched_threshold(a.unmatched);
  }
  head->set_feature_map_stride(stride);
  head->set_use_direction_classifier(true);
  head->set_dir_offset(0.78539f);
  head->set_num_dir_bins(2);
  head->set_cls_weight(1);
  head->set_loc_weight(2);
  head->set_dir_weight(0.2f);
  v1::PostProcessing* post = d.mutable_post_processing();
  post->clear_post_center_limit_range();
  post->clear_max_obj_per_sample();
  post->set_nms_thresh(0.01f);
}

// OpenPCDet's PointPillar for KITTI.
v1::Detector KittiPointPillar() {
  v1::Detector d = Kitti();
  d.set_model("pointpillar");
  UseAnchors(d, 2,
             {{"Car", 3.9f, 1.6f, 1.56f, -1.78f, 0.6f, 0.45f},
              {"Pedestrian", 0.8f, 0.6f, 1.73f, -0.6f, 0.5f, 0.35f},
              {"Cyclist", 1.76f, 0.6f, 1.73f, -0.6f, 0.5f, 0.35f}});
  return d;
}

// OpenPCDet's SECOND for KITTI.
v1::Detector KittiSecond() {
  v1::Detector d = KittiPointPillar();
  d.set_model("second");
  Set(d.mutable_point_cloud_range(), {0.0f, -40.0f, -3.0f, 70.4f, 40.0f, 1.0f});
  Set(d.mutable_voxel_size(), {0.05f, 0.05f, 0.1f});
  d.set_max_points_per_voxel(5);
  UseVoxels(d, /*residual=*/false, {16u, 16u, 32u, 64u, 64u, 128u});
  d.mutable_anchor_head()->set_feature_map_stride(8);
  return d;
}

// CenterPoint on KITTI voxels, as CaKDP's students.
v1::Detector KittiVoxel() {
  v1::Detector d = Kitti();
  const v1::Detector second = KittiSecond();
  d.set_model("centerpoint_voxel");
  *d.mutable_point_cloud_range() = second.point_cloud_range();
  *d.mutable_voxel_size() = second.voxel_size();
  d.set_max_points_per_voxel(5);
  UseVoxels(d, /*residual=*/false, {16u, 16u, 32u, 64u, 64u, 128u});
  d.mutable_dense_head()->set_feature_map_stride(8);
  return d;
}

// SparseKD's anchors on Waymo.
void UseWaymoAnchors(v1::Detector& d, uint32_t stride) {
  UseAnchors(d, stride,
             {{"Vehicle", 4.7f, 2.1f, 1.7f, 0, 0.55f, 0.4f},
              {"Pedestrian", 0.91f, 0.86f, 1.73f, 0, 0.5f, 0.35f},
              {"Cyclist", 1.78f, 0.84f, 1.78f, 0, 0.5f, 0.35f}});
  d.mutable_post_processing()->set_nms_thresh(0.7f);
}

// OpenPCDet's PV-RCNN for KITTI.
v1::Detector KittiPvRcnn() {
  v1::Detector d = KittiSecond();
  d.set_model("pv_rcnn");
  v1::RoiHead* head = d.mutable_roi_head();
  head->set_nms_thresh(0.7f);
  head->set_nms_pre_maxsize(1024);
  head->set_nms_post_maxsize(100);
  head->set_num_keypoints(2048);
  d.mutable_post_processing()->set_nms_thresh(0.1f);
  return d;
}

// CaKDP's Voxel R-CNN with KITTI's three classes.
v1::Detector KittiVoxelRcnn() {
  v1::Detector d = KittiPvRcnn();
  d.set_model("voxel_rcnn");
  d.mutable_roi_head()->set_nms_pre_maxsize(2048);
  return d;
}

// OpenPCDet's Part-A2 with anchors for KITTI.
v1::Detector KittiPartA2() {
  v1::Detector d = KittiPvRcnn();
  d.set_model("part_a2");
  d.mutable_roi_head()->set_pool_size(12);
  for (auto& anchors : *d.mutable_anchor_head()->mutable_anchors()) anchors.set_bottom_height(-1.78f);
  return d;
}

v1::Detector WaymoSecond() {
  v1::Detector d = WaymoVoxel();
  d.set_model("second");
  UseVoxels(d, /*residual=*/false, {16u, 16u, 32u, 64u, 64u, 128u});
  UseWaymoAnchors(d, 8);
  return d;
}

v1::Detector WaymoPointPillar() {
  v1::Detector d = Waymo();
  d.set_model("pointpillar");
  Set(d.mutable_point_cloud_range(), {-74.88f, -74.88f, -2.0f, 74.88f, 74.88f, 4.0f});
  UseWaymoAnchors(d, 1);
  return d;
}

// OpenPCDet's CenterPoint for nuScenes with voxels of 0.075 m.
v1::Detector NuScenesVoxel() {
  v1::Detector d = WaymoVoxel();
  d.clear_class_names();
  v1::CenterHead* head = d.mutable_dense_head();
  const std::vector<std::vector<const char*>> groups = {
      {"car"},     {"truck", "construction_vehicle"}, {"bus", "trailer"},
      {"barrier"}, {"motorcycle", "bicycle"},         {"pedestrian", "traffic_cone"}};
  for (const auto& group : groups) {
    v1::CenterHead::Group* names = head->add_class_names_each_head();
    for (const char* name : group) {
      names->add_class_names(name);
      d.add_class_names(name);
    }
  }
  Set(d.mutable_point_cloud_range(), {-54.0f, -54.0f, -5.0f, 54.0f, 54.0f, 3.0f});
  Set(d.mutable_voxel_size(), {0.075f, 0.075f, 0.2f});
  d.set_max_points_per_voxel(10);
  d.set_max_voxels_train(120000);
  d.set_max_voxels_test(160000);
  head->set_with_velocity(true);
  head->set_loc_weight(0.25f);
  Set(head->mutable_code_weights(), {1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 1.0f, 0.2f, 0.2f, 1.0f, 1.0f});
  v1::PostProcessing* post = d.mutable_post_processing();
  Set(post->mutable_post_center_limit_range(), {-61.2f, -61.2f, -10.0f, 61.2f, 61.2f, 10.0f});
  post->set_nms_thresh(0.2f);
  post->set_nms_pre_maxsize(1000);
  post->set_nms_post_maxsize(83);
  return d;
}

// OpenPCDet's CenterPoint for nuScenes on dynamic pillars.
v1::Detector NuScenesPillar() {
  v1::Detector d = NuScenesVoxel();
  const v1::Detector waymo = Waymo();
  d.set_model("centerpoint_pillar");
  Set(d.mutable_point_cloud_range(), {-51.2f, -51.2f, -5.0f, 51.2f, 51.2f, 3.0f});
  Set(d.mutable_voxel_size(), {0.2f, 0.2f, 8.0f});
  d.set_max_points_per_voxel(0);
  d.set_max_voxels_train(0);
  d.set_max_voxels_test(0);
  d.clear_backbone_3d();
  *d.mutable_vfe() = waymo.vfe();
  *d.mutable_backbone_2d() = waymo.backbone_2d();
  Set(d.mutable_backbone_2d()->mutable_layer_strides(), {2u, 2u, 2u});
  Set(d.mutable_backbone_2d()->mutable_upsample_strides(), {0.5f, 1.0f, 2.0f});
  d.mutable_dense_head()->set_feature_map_stride(4);
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

}  // namespace

absl::StatusOr<v1::Detector> BuiltInDetector(absl::string_view name) {
  static constexpr struct {
    const char* name;
    v1::Detector (*make)();
  } kBuiltIns[] = {{"centerpoint_pillar", Waymo},
                   {"centerpoint_pillar_kitti", Kitti},
                   {"centerpoint_pillar_nuscenes", NuScenesPillar},
                   {"centerpoint_pillar_sim", Sim},
                   {"centerpoint_voxel", WaymoVoxel},
                   {"centerpoint_voxel_kitti", KittiVoxel},
                   {"centerpoint_voxel_nuscenes", NuScenesVoxel},
                   {"part_a2_kitti", KittiPartA2},
                   {"pointpillar", WaymoPointPillar},
                   {"pointpillar_kitti", KittiPointPillar},
                   {"pv_rcnn_kitti", KittiPvRcnn},
                   {"second", WaymoSecond},
                   {"second_kitti", KittiSecond},
                   {"voxel_rcnn_kitti", KittiVoxelRcnn}};
  std::vector<std::string> known;
  for (const auto& built_in : kBuiltIns) {
    if (name == built_in.name) return built_in.make();
    known.emplace_back(built_in.name);
  }
  return absl::NotFoundError(
      absl::StrCat("no built-in detector \"", name, "\"; there are ", absl::StrJoin(known, ", ")));
}

}  // namespace kd
