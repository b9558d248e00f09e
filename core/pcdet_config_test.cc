#include "core/pcdet_config.h"

#include <array>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kDataset[] = R"(
POINT_CLOUD_RANGE: [0, -40, -3, 70.4, 40, 1]
POINT_FEATURE_ENCODING:
  encoding_type: absolute_coordinates_encoding
  used_feature_list: ['x', 'y', 'z', 'intensity']
DATA_PROCESSOR:
  - NAME: mask_points_and_boxes_outside_range
  - NAME: transform_points_to_voxels
    VOXEL_SIZE: [0.05, 0.05, 0.1]
    MAX_POINTS_PER_VOXEL: 5
    MAX_NUMBER_OF_VOXELS: {'train': 16000, 'test': 40000}
)";

constexpr char kSecond[] = R"(
CLASS_NAMES: ['Car', 'Pedestrian', 'Cyclist']
DATA_CONFIG:
  _BASE_CONFIG_: cfgs/dataset_configs/kitti_dataset.yaml
MODEL:
  NAME: SECONDNet
  VFE: {NAME: MeanVFE}
  BACKBONE_3D: {NAME: VoxelBackBone8x}
  MAP_TO_BEV: {NAME: HeightCompression, NUM_BEV_FEATURES: 256}
  BACKBONE_2D:
    NAME: BaseBEVBackbone
    LAYER_NUMS: [5, 5]
    LAYER_STRIDES: [1, 2]
    NUM_FILTERS: [128, 256]
    UPSAMPLE_STRIDES: [1, 2]
    NUM_UPSAMPLE_FILTERS: [256, 256]
  DENSE_HEAD:
    NAME: AnchorHeadSingle
    USE_DIRECTION_CLASSIFIER: True
    DIR_OFFSET: 0.78539
    DIR_LIMIT_OFFSET: 0.0
    NUM_DIR_BINS: 2
    ANCHOR_GENERATOR_CONFIG:
      - {class_name: Car, anchor_sizes: [[3.9, 1.6, 1.56]], anchor_rotations: [0, 1.57], anchor_bottom_heights: [-1.78],
         align_center: False, feature_map_stride: 8, matched_threshold: 0.6, unmatched_threshold: 0.45}
      - {class_name: Pedestrian, anchor_sizes: [[0.8, 0.6, 1.73]], anchor_rotations: [0, 1.57], anchor_bottom_heights: [-0.6],
         align_center: False, feature_map_stride: 8, matched_threshold: 0.5, unmatched_threshold: 0.35}
      - {class_name: Cyclist, anchor_sizes: [[1.76, 0.6, 1.73]], anchor_rotations: [0, 1.57], anchor_bottom_heights: [-0.6],
         align_center: False, feature_map_stride: 8, matched_threshold: 0.5, unmatched_threshold: 0.35}
    TARGET_ASSIGNER_CONFIG: {NAME: AxisAlignedTargetAssigner, BOX_CODER: ResidualCoder, MATCH_HEIGHT: False}
    LOSS_CONFIG:
      LOSS_WEIGHTS: {cls_weight: 1.0, loc_weight: 2.0, dir_weight: 0.2, code_weights: [1, 1, 1, 1, 1, 1, 1]}
  POST_PROCESSING:
    SCORE_THRESH: 0.1
    NMS_CONFIG: {MULTI_CLASSES_NMS: False, NMS_TYPE: nms_gpu, NMS_THRESH: 0.01, NMS_PRE_MAXSIZE: 4096, NMS_POST_MAXSIZE: 500}
)";

class PcdetConfigTest : public testing::Test {
 protected:
  PcdetConfigTest() {
    Write("cfgs/dataset_configs/kitti_dataset.yaml", kDataset);
    Write("cfgs/dataset_configs/nuscenes_dataset.yaml", kDataset);
  }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_.path() + "/" + name;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }

  absl::StatusOr<v1::Detector> Read(const std::string& text) {
    return ReadPcdetConfig(Write("cfgs/kitti_models/second.yaml", text), "MODEL");
  }

  TemporaryFolder folder_;
};

// A file of tests/golden/pcdet, which say what the released ones of their names say.
std::string Golden(const std::string& name) {
  const auto text = ReadFile(SourceDir() + "/tests/golden/pcdet/cfgs/" + name);
  EXPECT_THAT(text.status(), IsOk());
  return text.value_or("");
}

absl::StatusOr<v1::Detector> ReadGolden(const std::string& name) {
  return ReadPcdetConfig(SourceDir() + "/tests/golden/pcdet/cfgs/" + name, "MODEL");
}

// Written out by the files, absent in the built-in detectors.
void WriteOutAnchors(v1::Detector& detector) {
  v1::AnchorHead* head = detector.mutable_anchor_head();
  for (int i = 0; i < 7; ++i) head->add_code_weights(1);
  head->set_dir_limit_offset(0);
  head->set_match_height(false);
  for (auto& anchors : *head->mutable_anchors()) anchors.set_align_center(false);
}

void ExpectSame(const v1::Detector& want, const v1::Detector& got) {
  google::protobuf::util::MessageDifferencer differencer;
  std::string difference;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(want, got)) << difference;
}

std::string With(absl::string_view from, absl::string_view to) {
  const std::string text = absl::StrReplaceAll(kSecond, {{from, to}});
  EXPECT_NE(text, kSecond) << from;
  return text;
}

TEST_F(PcdetConfigTest, ReadsTheReleasedSecondWithItsBase) {
  const auto detector = Read(kSecond);
  ASSERT_THAT(detector.status(), IsOk());
  v1::Detector want = *BuiltInDetector("second_kitti");
  WriteOutAnchors(want);
  ExpectSame(want, *detector);
}

TEST_F(PcdetConfigTest, ReadsTheReleasedPvRcnn) {
  const auto detector = ReadGolden("pv_rcnn.yaml");
  ASSERT_THAT(detector.status(), IsOk());
  v1::Detector want = *BuiltInDetector("pv_rcnn_kitti");
  // Which the built-in one leaves out, as they are all.
  for (const char* source : {"bev", "x_conv1", "x_conv2", "x_conv3", "x_conv4", "raw_points"})
    want.mutable_roi_head()->add_features_source(source);
  WriteOutAnchors(want);
  ExpectSame(want, *detector);
}

// As OpenPCDet's files for Waymo, ONCE and own data have them.
TEST_F(PcdetConfigTest, ReadsFourSourcesOfKeypoints) {
  const std::string text = absl::StrReplaceAll(
      Golden("pv_rcnn.yaml"), {{"'x_conv1', 'x_conv2', ", ""}, {"NUM_KEYPOINTS: 2048", "NUM_KEYPOINTS: 4096"}});
  const auto detector = ReadPcdetConfig(Write("cfgs/pv_rcnn.yaml", text), "MODEL");
  ASSERT_THAT(detector.status(), IsOk());
  v1::Detector want = *BuiltInDetector("pv_rcnn_kitti");
  want.mutable_roi_head()->set_num_keypoints(4096);
  for (const char* source : {"bev", "x_conv3", "x_conv4", "raw_points"})
    want.mutable_roi_head()->add_features_source(source);
  WriteOutAnchors(want);
  ExpectSame(want, *detector);
}

TEST_F(PcdetConfigTest, ReadsTheReleasedVoxelRcnnOfCars) {
  const auto detector = ReadGolden("voxel_rcnn_car.yaml");
  ASSERT_THAT(detector.status(), IsOk());
  // CaKDP's has three classes and a wider BEV backbone.
  v1::Detector want = *BuiltInDetector("voxel_rcnn_kitti");
  want.mutable_class_names()->DeleteSubrange(1, 2);
  want.mutable_anchor_head()->mutable_anchors()->DeleteSubrange(1, 2);
  for (auto* widths : {want.mutable_backbone_2d()->mutable_num_filters(),
                       want.mutable_backbone_2d()->mutable_num_upsample_filters()}) {
    for (auto& width : *widths) width /= 2;
  }
  want.mutable_post_processing()->set_score_thresh(0.3f);
  WriteOutAnchors(want);
  ExpectSame(want, *detector);
}

TEST_F(PcdetConfigTest, ReadsTheReleasedPartA2) {
  const auto detector = ReadGolden("part_a2.yaml");
  ASSERT_THAT(detector.status(), IsOk());
  v1::Detector want = *BuiltInDetector("part_a2_kitti");
  WriteOutAnchors(want);
  ExpectSame(want, *detector);
}

// As OpenPCDet's file for Waymo has it.
TEST_F(PcdetConfigTest, ReadsOtherNumbersOfCellsInPartA2) {
  const std::string text = absl::StrReplaceAll(Golden("part_a2.yaml"), {{"POOL_SIZE: 12", "POOL_SIZE: 10"}});
  const auto detector = ReadPcdetConfig(Write("cfgs/part_a2.yaml", text), "MODEL");
  ASSERT_THAT(detector.status(), IsOk());
  EXPECT_EQ(detector->roi_head().pool_size(), 10u);
}

// It has no maps and no anchors.
TEST_F(PcdetConfigTest, PartA2WithoutAnchorsIsRefusedByItsName) {
  const char* const free = R"(
CLASS_NAMES: ['Car', 'Pedestrian', 'Cyclist']
DATA_CONFIG: {_BASE_CONFIG_: cfgs/dataset_configs/kitti_dataset.yaml}
MODEL:
  NAME: PointRCNN
  VFE: {NAME: MeanVFE}
  BACKBONE_3D: {NAME: UNetV2, RETURN_ENCODED_TENSOR: False}
  POINT_HEAD: {NAME: PointIntraPartOffsetHead, CLS_FC: [128, 128], PART_FC: [128, 128], REG_FC: [128, 128]}
  ROI_HEAD: {NAME: PartA2FCHead}
)";
  EXPECT_THAT(ReadPcdetConfig(Write("cfgs/free.yaml", free), "MODEL").status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("free.yaml:7:"), HasSubstr("RETURN_ENCODED_TENSOR False"),
                             HasSubstr("as in PartA2_free.yaml; supported is Part-A2 with anchors, PartA2.yaml"))));
}

TEST_F(PcdetConfigTest, ReadsTheReleasedDynamicPillars) {
  const auto detector = ReadGolden("cbgs_dyn_pp_centerpoint.yaml");
  ASSERT_THAT(detector.status(), IsOk());
  v1::Detector want = *BuiltInDetector("centerpoint_pillar_nuscenes");
  want.mutable_vfe()->set_with_distance(false);
  ExpectSame(want, *detector);
  EXPECT_TRUE(HasDynamicPillars(*detector));
}

// The other name of the encoder, and a base whose step of voxels it does not need.
TEST_F(PcdetConfigTest, DynamicPillarsTakeNoCapsFromTheData) {
  std::string text = Golden("cbgs_dyn_pp_centerpoint.yaml");
  text = absl::StrReplaceAll(text, {{"DynPillarVFE", "DynamicPillarVFE"},
                                    {"transform_points_to_voxels_placeholder,",
                                     "transform_points_to_voxels, MAX_POINTS_PER_VOXEL: 20, "
                                     "MAX_NUMBER_OF_VOXELS: {train: 30000, test: 30000},"}});
  const auto detector = ReadPcdetConfig(Write("cfgs/dyn.yaml", text), "MODEL");
  ASSERT_THAT(detector.status(), IsOk());
  EXPECT_TRUE(HasDynamicPillars(*detector));
  EXPECT_THAT(ReadPcdetConfig(Write("cfgs/hard.yaml", absl::StrReplaceAll(Golden("cbgs_dyn_pp_centerpoint.yaml"),
                                                                          {{"DynPillarVFE", "PillarVFE"}})),
                              "MODEL")
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("VFE PillarVFE reads voxels, but DATA_PROCESSOR has no step")));
}

TEST_F(PcdetConfigTest, PillarsMayLeaveOutPlaces) {
  const std::string text = absl::StrReplaceAll(Golden("cbgs_dyn_pp_centerpoint.yaml"),
                                               {{"USE_ABSLOTE_XYZ: True", "USE_ABSLOTE_XYZ: False"}});
  const auto detector = ReadPcdetConfig(Write("cfgs/dyn.yaml", text), "MODEL");
  ASSERT_THAT(detector.status(), IsOk());
  EXPECT_FALSE(HasAbsoluteXyz(detector->vfe()));
  EXPECT_TRUE(HasAbsoluteXyz(ReadGolden("cbgs_dyn_pp_centerpoint.yaml")->vfe()));
}

TEST_F(PcdetConfigTest, SecondStagesOtherThanTheBuiltInOnesAreRefusedByTheirSetting) {
  for (const auto& [file, from, to, problem] : {
           std::array<std::string, 4>{
               "pv_rcnn.yaml", "'x_conv1', 'x_conv2'", "'x_conv9'",
               "FEATURES_SOURCE \"x_conv9\" is not known here; there are bev, x_conv1 to x_conv4"},
           {"pv_rcnn.yaml", "'x_conv1', 'x_conv2'", "'x_conv3'", "features_source: \"x_conv3\" stands there twice"},
           {"pv_rcnn.yaml", "['bev', 'x_conv1', 'x_conv2', 'x_conv3', 'x_conv4', 'raw_points']", "bev",
            "FEATURES_SOURCE is not a list of at least one source"},
           {"pv_rcnn.yaml", "x_conv3: {", "x_conv3: {FILTER_NEIGHBOR_WITH_ROI: True, ",
            "FILTER_NEIGHBOR_WITH_ROI True is not supported"},
           {"pv_rcnn.yaml", "x_conv3: {", "x_conv5: {", "x_conv3 is missing"},
           // As in OpenPCDet's PV-RCNN with a CenterHead.
           {"pv_rcnn.yaml", "NUM_OUTPUT_FEATURES: 128", "NUM_OUTPUT_FEATURES: 90",
            "NUM_OUTPUT_FEATURES is 90; supported is 128"},
           {"pv_rcnn.yaml", "PVRCNNHead", "PointRCNNHead", "ROI_HEAD \"PointRCNNHead\" is not known here"},
           {"pv_rcnn.yaml", "PVRCNNHead", "PartA2FCHead", "NAME is VoxelBackBone8x; supported is UNetV2"},
           {"pv_rcnn.yaml", "VoxelBackBone8x", "UNetV2", "UNetV2 is supported under ROI_HEAD PartA2FCHead alone"},
           {"part_a2.yaml", "POOL_SIZE: 12", "POOL_SIZE: 0", "roi_head.pool_size must be at least 1"},
           {"part_a2.yaml", "POOL_SIZE: 12", "POOL_SIZE: 1000", "roi_head.pool_size is 1000"},
           {"part_a2.yaml", "NMS_POST_MAXSIZE: 100,", "NMS_POST_MAXSIZE: 2000,",
            "nms_post_maxsize times pool_size cubed is 3.456e+06"},
           {"part_a2.yaml", "NAME: UNetV2", "NAME: UNetV2, last_pad: 1", "last_pad other than 0"},
           {"part_a2.yaml", "  POINT_HEAD:", "  PFE: {NAME: VoxelSetAbstraction}\n  POINT_HEAD:", "behind a PFE"},
           {"part_a2.yaml", "PointIntraPartOffsetHead", "PointHeadSimple",
            "NAME is PointHeadSimple; supported is PointIntraPartOffsetHead"},
           {"part_a2.yaml", "PART_FC: []", "PART_FC: [64]", "PART_FC is [64]; supported is []"},
           {"part_a2.yaml", "NUM_FEATURES: 128", "NUM_FEATURES: 64", "NUM_FEATURES is 64; supported is 128"},
           {"part_a2.yaml", "MAX_POINTS_PER_VOXEL: 128", "MAX_POINTS_PER_VOXEL: 64",
            "MAX_POINTS_PER_VOXEL is 64; supported is 128"},
           {"part_a2.yaml", "    CLS_FC: []", "    CLS_FC: [128]", "CLS_FC is [128]; supported is []"},
           {"part_a2.yaml", "SHARED_FC: [256, 256, 256]", "SHARED_FC: [256, 256]",
            "SHARED_FC is [256, 256]; supported"},
           {"part_a2.yaml", "THRESH: 0.3\n", "THRESH: 0.3\n    DISABLE_PART: True\n", "DISABLE_PART True"},
           {"part_a2.yaml", "SCORE_THRESH: 0.3", "SCORE_THRESH: 0.2", "SEG_MASK_SCORE_THRESH is 0.2; supported is 0.3"},
           {"part_a2.yaml", "TARGET_CONFIG: {GT", "TARGET_CONFIG: {BOX_CODER: PointResidualCoder, GT",
            "proposes boxes"},
           {"pv_rcnn.yaml", "NAME: VoxelSetAbstraction", "NAME: Other", "NAME is Other; supported is"},
           {"pv_rcnn.yaml", "SAMPLE_METHOD: FPS", "SAMPLE_METHOD: SPC", "SAMPLE_METHOD is SPC; supported is FPS"},
           {"pv_rcnn.yaml", "[2.4, 4.8]", "[2.4, 4.9]", "POOL_RADIUS is [2.4, 4.9]; supported is [2.4, 4.8]"},
           {"pv_rcnn.yaml", "SHARED_FC: [256, 256]", "SHARED_FC: [256]", "SHARED_FC is [256]; supported is [256, 256]"},
           {"pv_rcnn.yaml", "    DP_RATIO: 0.3", "    DP_RATIO: 0", "DP_RATIO is not above 0"},
           {"pv_rcnn.yaml", "    CLASS_AGNOSTIC: True", "    CLASS_AGNOSTIC: False", "CLASS_AGNOSTIC is false"},
           {"pv_rcnn.yaml", "TEST: {MULTI_CLASSES_NMS: False", "TEST: {MULTI_CLASSES_NMS: True", "MULTI_CLASSES_NMS"},
           {"pv_rcnn.yaml", "TEST: {MULTI_CLASSES_NMS", "TEST: {NMS_TYPE: nms_normal_gpu, MULTI_CLASSES_NMS",
            "NMS_TYPE is nms_normal_gpu; supported is nms_gpu"},
           {"pv_rcnn.yaml", "  POINT_HEAD:", "  SOME_HEAD:", "POINT_HEAD is missing"},
           {"pv_rcnn.yaml", "VoxelBackBone8x", "VoxelResBackBone8x", "backbone_3d.residual: false"},
           {"voxel_rcnn_car.yaml", "[[4, 4, 4]], POOL_RADIUS: [1.6]", "[[4, 4, 4]], POOL_RADIUS: [3.2]",
            "POOL_RADIUS is [3.2]; supported is [1.6]"},
           {"voxel_rcnn_car.yaml", "GRID_SIZE: 6", "GRID_SIZE: 7", "GRID_SIZE is 7; supported is 6"},
           {"cbgs_dyn_pp_centerpoint.yaml", "PointPillarScatter", "PointPillarScatter3d",
            "MAP_TO_BEV \"PointPillarScatter3d\" behind pillars is not supported; there it is PointPillarScatter"},
           // As DSVT's, which keeps the best of every class.
           {"cbgs_dyn_pp_centerpoint.yaml", "NMS_CONFIG: {", "NMS_CONFIG: {NMS_TYPE: class_specific_nms, ",
            "NMS_TYPE is class_specific_nms; supported is nms_gpu"},
           {"cbgs_dyn_pp_centerpoint.yaml", "  DENSE_HEAD:", "  ROI_HEAD: {NAME: PVRCNNHead}\n  DENSE_HEAD:",
            "ROI_HEAD \"PVRCNNHead\" behind pillars is not supported; it is behind MeanVFE"},
       }) {
    const std::string text = absl::StrReplaceAll(Golden(file), {{from, to}});
    ASSERT_NE(text, Golden(file)) << from;
    EXPECT_THAT(ReadPcdetConfig(Write("cfgs/changed.yaml", text), "MODEL").status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(problem)))
        << to;
  }
}

TEST_F(PcdetConfigTest, TheFilesOwnEntriesReplaceTheBases) {
  const auto detector =
      Read(With("kitti_dataset.yaml\n", "kitti_dataset.yaml\n  POINT_CLOUD_RANGE: [0, -32, -3, 64, 32, 1]\n"));
  ASSERT_THAT(detector.status(), IsOk());
  EXPECT_EQ(detector->point_cloud_range(3), 64);
  EXPECT_FLOAT_EQ(detector->voxel_size(0), 0.05f);
}

TEST_F(PcdetConfigTest, RefusesWhatItDoesNotKnow) {
  const auto refused = [this](absl::string_view from, absl::string_view to) { return Read(With(from, to)).status(); };
  EXPECT_THAT(
      refused("VoxelBackBone8x", "VoxelBackBone16x"),
      StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr("second.yaml:8:"), HasSubstr("\"VoxelBackBone16x\""),
                                                         HasSubstr("VoxelBackBone8x, VoxelResBackBone8x and UNetV2"))));
  EXPECT_THAT(refused("AnchorHeadSingle", "AnchorHeadMulti"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("CenterHead and AnchorHeadSingle")));
  EXPECT_THAT(refused("MULTI_CLASSES_NMS: False", "MULTI_CLASSES_NMS: True"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("MULTI_CLASSES_NMS")));
  // It compares boxes without their yaws.
  EXPECT_THAT(
      refused("nms_gpu", "nms_normal_gpu"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("second.yaml:35:"), HasSubstr("NMS_TYPE is nms_normal_gpu; supported is nms_gpu"))));
  EXPECT_THAT(refused("NMS_TYPE: nms_gpu, ", ""), IsOk());
  EXPECT_THAT(refused("    SCORE_THRESH: 0.1", "    SCORE_THRESH: 0.1\n    OUTPUT_RAW_SCORE: True"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("OUTPUT_RAW_SCORE is true; supported is false")));
  EXPECT_THAT(refused("NAME: HeightCompression", "NAME: PointPillarScatter"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("MAP_TO_BEV \"PointPillarScatter\" behind a 3D backbone is not supported; there it is "
                                 "HeightCompression")));
  EXPECT_THAT(refused("  MAP_TO_BEV: {NAME: HeightCompression, NUM_BEV_FEATURES: 256}\n", ""),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("MAP_TO_BEV is missing")));
  EXPECT_THAT(refused("NUM_FILTERS: [128, 256]", "NUM_FILTERS: [128, wide]"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUM_FILTERS is \"wide\", expected a number")));
  EXPECT_THAT(refused("cfgs/dataset_configs/kitti_dataset.yaml", "cfgs/dataset_configs/none.yaml"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("copy the dataset_configs folder")));
  EXPECT_THAT(refused("  POST_PROCESSING:", "  ROI_HEAD: {NAME: PVRCNNHead}\n  POST_PROCESSING:"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("PFE is missing")));
  EXPECT_THAT(refused("NUM_FILTERS: [128, 256]", "NUM_FILTERS: [128]"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("one value per level")));
}

// OpenPCDet takes columns by their names; readers here take the first ones.
TEST_F(PcdetConfigTest, UsedFeaturesAreTheFirstColumns) {
  const std::string used = "used_feature_list: ['x', 'y', 'z', 'intensity']";
  const auto with = [&](absl::string_view columns, absl::string_view all) {
    Write("cfgs/dataset_configs/kitti_dataset.yaml",
          absl::StrReplaceAll(kDataset,
                              {{used, absl::StrCat("used_feature_list: ", columns, "\n  src_feature_list: ", all)}}));
    return Read(kSecond);
  };
  const auto five = with("[x, y, z, intensity, elongation]", "[x, y, z, intensity, elongation, timestamp]");
  ASSERT_THAT(five.status(), IsOk());
  EXPECT_EQ(five->num_point_features(), 5u);
  for (const auto& [columns, all] :
       {std::array<const char*, 2>{"[x, y, z, intensity, timestamp]", "[x, y, z, intensity, elongation, timestamp]"},
        {"[x, y, z, elongation]", "[x, y, z, intensity, elongation]"},
        {"[x, y, z, intensity]", "[x, y, z]"}}) {
    EXPECT_THAT(with(columns, all).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("kitti_dataset.yaml:5:22: used_feature_list is [x, y, z, "),
                               HasSubstr("expected the first columns of src_feature_list"))))
        << columns;
  }
}

TEST_F(PcdetConfigTest, AnErrorNamesTheFileWhereItStands) {
  const auto refused = [this](absl::string_view from, absl::string_view to) {
    Write("cfgs/dataset_configs/kitti_dataset.yaml", absl::StrReplaceAll(kDataset, {{from, to}}));
    return Read(kSecond).status();
  };
  EXPECT_THAT(refused("70.4", "far"), StatusIs(absl::StatusCode::kInvalidArgument,
                                               HasSubstr("/cfgs/dataset_configs/kitti_dataset.yaml:2:33: "
                                                         "POINT_CLOUD_RANGE is \"far\", expected a number")));
  EXPECT_THAT(refused("    MAX_POINTS_PER_VOXEL: 5\n", ""),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("/kitti_dataset.yaml:8:5: MAX_POINTS_PER_VOXEL is missing")));
  // What all of them lack is told where they are asked for.
  EXPECT_THAT(refused("POINT_FEATURE_ENCODING", "POINTS"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("/cfgs/kitti_models/second.yaml:4:3: POINT_FEATURE_ENCODING is missing")));
  // A base of a base.
  Write("cfgs/dataset_configs/near.yaml", "_BASE_CONFIG_: cfgs/dataset_configs/kitti_dataset.yaml\n");
  Write("cfgs/dataset_configs/kitti_dataset.yaml", absl::StrReplaceAll(kDataset, {{"70.4", "far"}}));
  EXPECT_THAT(Read(With("kitti_dataset.yaml", "near.yaml")).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("/kitti_dataset.yaml:2:33: ")));
}

TEST_F(PcdetConfigTest, ABaseThatCanBeNoFileIsNotFound) {
  for (const std::string& name : {std::string(5000, 'x'), std::string(5000, '/'), std::string("cfgs")}) {
    EXPECT_THAT(ReadPcdetConfig(Write("cfgs/a.yaml", "_BASE_CONFIG_: " + name + "\n"), "MODEL").status(),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("is neither beside it")));
  }
}

TEST_F(PcdetConfigTest, ABaseThatNamesItselfEnds) {
  Write("cfgs/loop.yaml", "_BASE_CONFIG_: cfgs/loop.yaml\n");
  EXPECT_THAT(ReadPcdetConfig(folder_.path() + "/cfgs/loop.yaml", "MODEL").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("nested deeper")));
}

// 3^7 files without a loop.
TEST_F(PcdetConfigTest, BasesThatNameOthersManyTimesEnd) {
  for (int i = 0; i < 7; ++i) {
    const std::string next = "{_BASE_CONFIG_: cfgs/" + std::to_string(i + 1) + ".yaml}";
    Write("cfgs/" + std::to_string(i) + ".yaml", "A: " + next + "\nB: " + next + "\nC: " + next + "\n");
  }
  EXPECT_THAT(
      ReadPcdetConfig(Write("cfgs/7.yaml", "A: 1\n").replace(folder_.path().size() + 6, 1, "0"), "MODEL").status(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("more than 64 files")));
}

}  // namespace
}  // namespace kd
