#include "core/detector_config.h"

#include <initializer_list>
#include <string>
#include <vector>

#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Answers kept by a code that gave others have other keys.
TEST(DetectorConfigTest, RevisionsOfAnswers) {
  EXPECT_EQ(AnswersRevision(*BuiltInDetector("pv_rcnn_kitti")), 2u);
  EXPECT_EQ(AnswersRevision(*BuiltInDetector("voxel_rcnn_kitti")), 1u);
  EXPECT_EQ(AnswersRevision(v1::Detector()), 1u);
}

TEST(DetectorConfigTest, BuiltInsAreValid) {
  for (const char* name :
       {"centerpoint_pillar", "centerpoint_pillar_kitti", "centerpoint_pillar_nuscenes", "centerpoint_pillar_sim",
        "centerpoint_voxel", "centerpoint_voxel_kitti", "centerpoint_voxel_nuscenes", "part_a2_kitti", "pointpillar",
        "pointpillar_kitti", "pv_rcnn_kitti", "second", "second_kitti", "voxel_rcnn_kitti"}) {
    const auto detector = BuiltInDetector(name);
    ASSERT_THAT(detector, IsOk()) << name;
    EXPECT_THAT(ValidateDetector(*detector), IsOk()) << name;
  }
  EXPECT_THAT(GridCells(*BuiltInDetector("centerpoint_pillar")), ElementsAre(464, 464, 1));
  EXPECT_THAT(GridCells(*BuiltInDetector("centerpoint_pillar_sim")), ElementsAre(128, 128, 1));
  EXPECT_THAT(BuiltInDetector("third"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("centerpoint_pillar_sim")));
}

TEST(DetectorConfigTest, PillarsWithoutLimitsHaveNoneAtAll) {
  v1::Detector detector = *BuiltInDetector("centerpoint_pillar_nuscenes");
  EXPECT_TRUE(HasDynamicPillars(detector));
  EXPECT_FALSE(HasDynamicPillars(*BuiltInDetector("centerpoint_pillar_sim")));
  EXPECT_FALSE(HasDynamicPillars(*BuiltInDetector("second_kitti")));
  const auto refused = StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("or all of them 0 for pillars"));
  detector.set_max_voxels_test(30000);
  EXPECT_THAT(ValidateDetector(detector), refused);
  detector.clear_max_voxels_test();
  EXPECT_THAT(ValidateDetector(detector), IsOk());
  detector.clear_max_points_per_voxel();
  EXPECT_THAT(ValidateDetector(detector), refused);
  detector = *BuiltInDetector("second_kitti");
  detector.set_max_points_per_voxel(0);
  detector.set_max_voxels_train(0);
  detector.set_max_voxels_test(0);
  EXPECT_THAT(ValidateDetector(detector), refused);
}

TEST(DetectorConfigTest, KeypointsGatherFromKnownSourcesOnce) {
  v1::Detector detector = *BuiltInDetector("pv_rcnn_kitti");
  const auto with = [&](const std::vector<std::string>& sources) {
    *detector.mutable_roi_head()->mutable_features_source() = {sources.begin(), sources.end()};
    return ValidateDetector(detector);
  };
  EXPECT_THAT(with({"x_conv4", "raw_points", "x_conv1"}), IsOk());
  EXPECT_THAT(
      with({"x_conv5"}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("roi_head.features_source: \"x_conv5\" is not known; use some of bev, x_conv1, x_conv2, "
                         "x_conv3, x_conv4, raw_points")));
  EXPECT_THAT(with({"bev", "x_conv3", "bev"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"bev\" stands there twice")));
  detector = *BuiltInDetector("voxel_rcnn_kitti");
  EXPECT_THAT(with({"x_conv3"}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("model voxel_rcnn has no keypoints")));
}

TEST(DetectorConfigTest, AStudentOnDynamicPillarsMayHaveCoarserOnes) {
  v1::StudentSpec student;
  student.mutable_compress()->set_resolution(0.5f);
  const auto detector = MakeStudentDetector(*BuiltInDetector("centerpoint_pillar_nuscenes"), student);
  ASSERT_THAT(detector, IsOk());
  EXPECT_TRUE(HasDynamicPillars(*detector));
  EXPECT_THAT(GridCells(*detector), ElementsAre(256, 256, 1));
}

TEST(DetectorConfigTest, WidthsAreMultipliedAndRoundedDown) {
  v1::StudentSpec student;
  student.mutable_compress()->mutable_width()->set_pfn(0.5f);
  student.mutable_compress()->mutable_width()->set_backbone(0.25f);
  student.mutable_compress()->mutable_width()->set_neck(0.25f);
  student.mutable_compress()->mutable_width()->set_head(0.25f);
  const auto detector = MakeStudentDetector(*BuiltInDetector("centerpoint_pillar_sim"), student);
  ASSERT_THAT(detector, IsOk());
  EXPECT_THAT(detector->vfe().num_filters(), ElementsAre(16));
  EXPECT_THAT(detector->backbone_2d().num_filters(), ElementsAre(8, 16));
  EXPECT_THAT(detector->backbone_2d().num_upsample_filters(), ElementsAre(8, 8));
  EXPECT_EQ(detector->dense_head().shared_conv_channel(), 8u);
  EXPECT_THAT(detector->backbone_2d().layer_nums(), ElementsAre(2, 3));
}

TEST(DetectorConfigTest, HalfTheResolutionDoublesPillarsAndTheirPoints) {
  v1::StudentSpec student;
  student.mutable_compress()->set_resolution(0.5f);
  const auto detector = MakeStudentDetector(*BuiltInDetector("centerpoint_pillar_sim"), student);
  ASSERT_THAT(detector, IsOk());
  EXPECT_THAT(GridCells(*detector), ElementsAre(64, 64, 1));
  EXPECT_EQ(detector->max_points_per_voxel(), 16u);
}

TEST(DetectorConfigTest, AGridThatDoesNotDivideNamesTheNearest) {
  v1::StudentSpec student;
  student.mutable_compress()->set_resolution(0.7f);
  // 38.4 m in voxels of 0.3 / 0.7 m are 89.6; 88 are nearer than 92.
  EXPECT_THAT(MakeStudentDetector(*BuiltInDetector("centerpoint_pillar_sim"), student),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("point_cloud_range from 0 to 38.4 along x has 89.6 voxels of 0.42857"),
                             HasSubstr("expected a multiple of the backbone's strides (4); nearest are"),
                             HasSubstr("a range from 0 to 37.71429 with that voxel"),
                             HasSubstr("a voxel_size of 0.43636"), HasSubstr("(88 voxels)"))));
}

// Trained weights know their voxel: it is the range that changes, around 0 where it was.
TEST(DetectorConfigTest, ARangeThatDoesNotDivideNamesTheNearestOfThisVoxel) {
  v1::Detector detector = *BuiltInDetector("centerpoint_pillar_sim");
  detector.set_point_cloud_range(1, -20);
  detector.set_point_cloud_range(4, 20);
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("along y has 133.3333 voxels of 0.3 m"),
                             HasSubstr("a range from -19.8 to 19.8 with that voxel"),
                             HasSubstr("a voxel_size of 0.3030303 with that range (132 voxels)"))));
  detector.set_point_cloud_range(1, -19.8f);
  detector.set_point_cloud_range(4, 19.8f);
  EXPECT_THAT(ValidateDetector(detector), IsOk());
  detector.set_point_cloud_range(1, -20);
  detector.set_point_cloud_range(4, 20);
  detector.set_voxel_size(1, 0.3030303f);
  EXPECT_THAT(ValidateDetector(detector), IsOk());
}

TEST(DetectorConfigTest, AHeightOfNoWholeNumberOfVoxelsIsRefused) {
  v1::Detector detector = *BuiltInDetector("second_kitti");
  detector.set_voxel_size(2, 0.15f);
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("along z has 26.66667 voxels of 0.15 m, expected a whole number"),
                             HasSubstr("a range from -3 to 1.05 with that voxel"), HasSubstr("(27 voxels)"))));
  detector = *BuiltInDetector("centerpoint_pillar_sim");
  detector.set_voxel_size(2, 5.5f);
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("voxel_size z must be 5")));
}

TEST(DetectorConfigTest, OwnSettingsReplaceLists) {
  v1::StudentSpec student;
  student.mutable_detector()->add_class_names("Car");
  student.mutable_detector()->mutable_dense_head()->set_num_max_objs(50);
  const auto detector = MakeStudentDetector(*BuiltInDetector("centerpoint_pillar_sim"), student);
  ASSERT_THAT(detector, IsOk());
  EXPECT_THAT(detector->class_names(), ElementsAre("Car"));
  EXPECT_EQ(detector->dense_head().num_max_objs(), 50u);
  EXPECT_EQ(detector->dense_head().shared_conv_channel(), 32u);
}

SafeTensorsFile FileWith(const std::string& detector_json) {
  SafeTensorsFile file;
  file.metadata[kWeightsDetectorKey] = detector_json;
  return file;
}

TEST(DetectorConfigTest, ADetectorThatNoMemoryHoldsIsRefusedWithTheLimit) {
  v1::Detector detector = *BuiltInDetector("centerpoint_pillar_sim");
  detector.mutable_backbone_2d()->set_num_filters(0, 4'000'000'000);
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "detector: backbone_2d.num_filters is 4e+09, expected at most 4096"));
  detector = *BuiltInDetector("centerpoint_pillar_sim");
  for (int axis = 0; axis < 2; ++axis) detector.set_voxel_size(axis, 0.003f);
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the number of pillars is")));
  detector = *BuiltInDetector("centerpoint_voxel_nuscenes");
  for (int axis = 0; axis < 2; ++axis) detector.set_voxel_size(axis, 0.03f);
  detector.set_voxel_size(2, 0.002f);
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("the number of cells is")));
}

TEST(DetectorConfigTest, EveryClassStandsInOneHead) {
  v1::Detector detector = *BuiltInDetector("centerpoint_pillar_sim");
  const auto add = [&](std::initializer_list<const char*> names) {
    auto* group = detector.mutable_dense_head()->add_class_names_each_head();
    for (const char* name : names) group->add_class_names(name);
  };
  add({"Car"});
  add({"Pedestrian", "Tram"});
  EXPECT_THAT(ValidateDetector(detector),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"Tram\" is not one of class_names")));
  detector.mutable_dense_head()->clear_class_names_each_head();
  add({"Car"});
  add({"Pedestrian"});
  EXPECT_THAT(ValidateDetector(detector), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2 of 3 classes")));
  add({"Cyclist"});
  EXPECT_THAT(ValidateDetector(detector), IsOk());
}

TEST(DetectorConfigTest, HostileDescriptionsAreRefusedInOneLineOrValid) {
  std::string json;
  ASSERT_TRUE(google::protobuf::util::MessageToJsonString(*BuiltInDetector("centerpoint_pillar_sim"), &json).ok());
  int read = 0, refused = 0;
  ForHostileInput(json, 2000, [&](const std::string& text) {
    const auto detector = DetectorOf(FileWith(text));
    if (!detector.ok()) {
      ++refused;
      ASSERT_EQ(detector.status().code(), absl::StatusCode::kInvalidArgument);
      ASSERT_THAT(detector.status().message(), IsOneLine());
      return;
    }
    ++read;
    ASSERT_THAT(ValidateDetector(*detector), IsOk());
  });
  EXPECT_GT(read, 50);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace kd
