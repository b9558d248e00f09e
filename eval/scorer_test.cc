#include "eval/scorer.h"

#include <string>
#include <vector>

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

v1::Data WaymoData() {
  v1::Data data;
  data.set_format("waymo");
  for (const char* name : {"Vehicle", "Pedestrian", "Cyclist"}) data.add_class_names(name);
  return data;
}

// What measures need that read no files.
class NoDataset : public Dataset {
 public:
  absl::StatusOr<std::vector<std::string>> Split(const std::string&) const override { return names_; }
  absl::StatusOr<Frame> Read(const std::string&) const override { return Frame{}; }
  const std::vector<std::string>& class_names() const override { return names_; }
  absl::StatusOr<std::string> Digest(const std::string&) const override { return ""; }

 private:
  std::vector<std::string> names_;
};

Frame TwoObjects() {
  Frame frame{.sample = "a/000", .num_features = 5};
  frame.boxes = {{.box = {10, 0, 1, 4.5f, 2, 1.6f, 0.3f}, .label = 0, .num_points = 50},
                 {.box = {20, 5, 1, 0.9f, 0.9f, 1.7f, 1}, .label = 1, .num_points = 3}};
  return frame;
}

TEST(WaymoScorerTest, TheLabelsThemselvesScoreFully) {
  const auto scorer = *NewScorer(WaymoData(), NoDataset(), "");
  const Frame frame = TwoObjects();
  std::vector<Detection> detections;
  for (const LabeledBox& box : frame.boxes) detections.push_back({.box = box.box, .label = box.label, .score = 0.9f});
  ASSERT_THAT(scorer->Add(frame, detections), IsOk());
  const auto metrics = *scorer->Metrics();
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L1/AP"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L2/APH"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("waymo/Pedestrian/L2/AP"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("center_distance/mAP"), 100, 1e-6);
  // No cyclist is there, and the mean is over all classes of the data set.
  EXPECT_NEAR(metrics.at("waymo/mAPH/L2"), 200.0 / 3, 1e-3);
}

TEST(WaymoScorerTest, AHeadingTheOtherWayCostsApHalone) {
  const auto scorer = *NewScorer(WaymoData(), NoDataset(), "");
  const Frame frame = TwoObjects();
  Box3d turned = frame.boxes[0].box;
  turned.yaw -= 3.14159265f;
  ASSERT_THAT(scorer->Add(frame, {{.box = turned, .label = 0, .score = 0.9f}}), IsOk());
  const auto metrics = *scorer->Metrics();
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L2/AP"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L2/APH"), 0, 1e-3);
}

TEST(CustomScorerTest, CountsByRangeAndLeavesOutClassesThatAreNotThere) {
  v1::Data data = WaymoData();
  data.set_format("custom");
  const auto scorer = *NewScorer(data, NoDataset(), "");
  Frame frame = TwoObjects();
  frame.boxes[1].box.x = 60;
  ASSERT_THAT(scorer->Add(frame, {{.box = frame.boxes[0].box, .label = 0, .score = 0.9f}}), IsOk());
  const auto metrics = *scorer->Metrics();
  EXPECT_DOUBLE_EQ(metrics.at("lidar/Vehicle/3d@0.7/all"), 100);
  EXPECT_DOUBLE_EQ(metrics.at("lidar/Vehicle/bev@0.5/0-30m"), 100);
  EXPECT_DOUBLE_EQ(metrics.at("lidar/Pedestrian/3d@0.5/50m+"), 0);
  EXPECT_DOUBLE_EQ(metrics.at("lidar/mAP"), 50);
  EXPECT_EQ(metrics.count("lidar/Vehicle/3d@0.7/50m+"), 0u);
  EXPECT_EQ(metrics.count("lidar/Cyclist/3d@0.7/all"), 0u);
}

TEST(ScorerTest, RefusesResultFilesWhereTheFormatHasNone) {
  EXPECT_THAT(NewScorer(WaymoData(), NoDataset(), "results").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("format waymo has no result files")));
}

}  // namespace
}  // namespace kd
