#include "core/network_graph.h"

#include <cmath>
#include <cstring>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_matchers.h"
#include "core/detector_config.h"
#include "core/export_testing.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

// Names and shapes of the released models are the whole contract between a weights file and a network.
TEST(NetworkGraphTest, TakesEveryTensorOfTheReleasedModels) {
  const std::pair<const char*, const char*> models[] = {
      {"centerpoint_pillar", "cp-pillar_sparsekd"},
      {"pointpillar_kitti", "pointpillar_openpcdet"},
      {"second_kitti", "second_openpcdet"},
      {"centerpoint_voxel", "cp-voxel_sparsekd"},
      {"centerpoint_voxel_nuscenes", "cbgs_voxel0075_res3d_centerpoint_openpcdet"}};
  for (const auto& [built_in, manifest] : models) {
    SafeTensorsFile file;
    const Json parsed = Json::parse(Golden(absl::StrCat("manifest_", manifest, ".json")));
    for (const Json& entry : parsed.at("state")) {
      if (entry.at(0) == "global_step") continue;  // of the trainer
      SafeTensor& tensor = file.tensors[entry.at(0)];
      tensor = {.dtype = entry.at(1) == "float32" ? "F32" : "I64", .shape = entry.at(2)};
      size_t size = static_cast<size_t>(SafeTensorElementSize(tensor.dtype));
      for (const int64_t extent : tensor.shape) size *= static_cast<size_t>(extent);
      tensor.bytes.assign(size, '\0');
    }
    const auto graph = BuildNetworkGraph(*BuiltInDetector(built_in), file);
    ASSERT_THAT(graph.status(), IsOk()) << built_in;
    std::set<std::string> used;
    for (const GraphNode& node : graph->nodes) used.insert({node.weight, node.bias});
    used.erase("");
    EXPECT_EQ(used.size(), graph->weights.size()) << built_in;
  }
}

// Shapes of detectors.md section 3 for KITTI.
TEST(NetworkGraphTest, KnowsTheGridsOfTheReleasedVoxelBackbone) {
  v1::Detector detector = *BuiltInDetector("second_kitti");
  Trained trained = GoldenDetector("detector_second_a");
  *detector.mutable_backbone_3d() = trained.detector.backbone_3d();
  *detector.mutable_backbone_2d() = trained.detector.backbone_2d();
  const auto graph = BuildNetworkGraph(detector, trained.file);
  ASSERT_THAT(graph.status(), IsOk());
  using Grid = std::vector<int64_t>;
  EXPECT_EQ(graph->Find("vfe.means")->grid, (Grid{41, 1600, 1408}));
  EXPECT_EQ(graph->Find("backbone_3d.conv2.0")->grid, (Grid{21, 800, 704}));
  EXPECT_EQ(graph->Find("backbone_3d.conv3.0")->grid, (Grid{11, 400, 352}));
  EXPECT_EQ(graph->Find("backbone_3d.conv4.2")->grid, (Grid{5, 200, 176}));
  EXPECT_EQ(graph->Find("backbone_3d.conv_out")->grid, (Grid{2, 200, 176}));
  EXPECT_EQ(graph->Find("backbone_3d.map")->shape, (Grid{1, 16, 200, 176}));
  EXPECT_EQ(graph->Find("box_preds")->shape, (Grid{1, 200, 176, 42}));
}

TEST(NetworkGraphTest, NamesTensorsThatDoNotFit) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.file.tensors.erase("dense_head.conv_cls.bias");
  trained.file.tensors["backbone_2d.blocks.0.2.running_mean"].shape = {4, 2};
  trained.file.tensors["extra"] = trained.file.tensors["dense_head.conv_box.bias"];
  EXPECT_THAT(
      BuildNetworkGraph(trained.detector, trained.file).status(),
      StatusIs(kInvalid, AllOf(HasSubstr("3 tensors"), HasSubstr("missing dense_head.conv_cls.bias"),
                               HasSubstr("unexpected extra"),
                               HasSubstr("backbone_2d.blocks.0.2.running_mean has shape [4, 2], expected [8]"))));
}

TEST(NetworkGraphTest, RefusesNumbersThatAreNotFinite) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  const float not_a_number = std::nanf("");
  std::memcpy(trained.file.tensors["vfe.pfn_layers.1.norm.bias"].bytes.data(), &not_a_number, sizeof(float));
  // A variance below zero has no root.
  const float negative = -1;
  std::memcpy(trained.file.tensors["backbone_2d.blocks.0.2.running_var"].bytes.data(), &negative, sizeof(float));
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("vfe.pfn_layers.1.linear.bias has numbers that are not finite"),
                                       HasSubstr("backbone_2d.blocks.0.1.weight has numbers that are not finite"))));
}

TEST(NetworkGraphTest, RefusesMapsOfUnequalSizes) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.detector.mutable_backbone_2d()->set_upsample_strides(1, 1);
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("level 1 ends in a map of 5 x 6 and level 0 in one of 10 x 12"),
                                       HasSubstr("upsample_strides"))));
}

TEST(NetworkGraphTest, RefusesUpsamplingThatLeavesNothing) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  for (const float tiny : {0.125f, 1e-30f}) {
    trained.detector.mutable_backbone_2d()->set_upsample_strides(1, tiny);
    EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
                StatusIs(kInvalid, AllOf(HasSubstr("upsample_strides[1]"), HasSubstr("too small for a map of 5 x 6"))));
  }
}

TEST(NetworkGraphTest, RefusesResidualBlocksThatChangeTheWidth) {
  Trained trained = GoldenDetector("detector_centerpoint_voxel_a");
  trained.detector.mutable_backbone_3d()->set_num_filters(1, 5);
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, HasSubstr("backbone_3d.conv1.0 is a residual block of width 5 behind a width of 4")));
}

TEST(NetworkGraphTest, RefusesOddWidthsThatAreHalved) {
  Trained trained = GoldenDetector("detector_pointpillar_a");
  trained.detector.mutable_vfe()->set_num_filters(0, 7);
  EXPECT_THAT(BuildNetworkGraph(trained.detector, trained.file).status(),
              StatusIs(kInvalid, HasSubstr("vfe.num_filters[0] is 7")));
}

TEST(NetworkGraphTest, RefusesDynamicPillars) {
  EXPECT_THAT(BuildNetworkGraph(*BuiltInDetector("centerpoint_pillar_nuscenes"), {}).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("dynamic pillars"), HasSubstr("max_points_per_voxel above 0"))));
}

TEST(NetworkGraphTest, RefusesTwoStages) {
  EXPECT_THAT(BuildNetworkGraph(*BuiltInDetector("pv_rcnn_kitti"), {}).status(),
              StatusIs(kInvalid, AllOf(HasSubstr("pv_rcnn has two stages"), HasSubstr("one stage"))));
}

}  // namespace
}  // namespace kd
