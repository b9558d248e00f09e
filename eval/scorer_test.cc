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

Frame TwoObjects() {
  Frame frame{.sample = "a/000", .num_features = 5};
  frame.boxes = {{.box = {10, 0, 1, 4.5f, 2, 1.6f, 0.3f}, .label = 0, .num_points = 50},
                 {.box = {20, 5, 1, 0.9f, 0.9f, 1.7f, 1}, .label = 1, .num_points = 3}};
  return frame;
}

TEST(WaymoScorerTest, TheLabelsThemselvesScoreFully) {
  const auto scorer = *NewScorer(WaymoData(), "");
  const Frame frame = TwoObjects();
  std::vector<Detection> detections;
  for (const LabeledBox& box : frame.boxes) detections.push_back({.box = box.box, .label = box.label, .score = 0.9f});
  ASSERT_THAT(scorer->Add(frame, detections), IsOk());
  const auto metrics = scorer->Metrics();
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L1/AP"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L2/APH"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("waymo/Pedestrian/L2/AP"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("center_distance/mAP"), 100, 1e-6);
  // No cyclist is there, and the mean is over all classes of the data set.
  EXPECT_NEAR(metrics.at("waymo/mAPH/L2"), 200.0 / 3, 1e-3);
}

TEST(WaymoScorerTest, AHeadingTheOtherWayCostsApHalone) {
  const auto scorer = *NewScorer(WaymoData(), "");
  const Frame frame = TwoObjects();
  Box3d turned = frame.boxes[0].box;
  turned.yaw -= 3.14159265f;
  ASSERT_THAT(scorer->Add(frame, {{.box = turned, .label = 0, .score = 0.9f}}), IsOk());
  const auto metrics = scorer->Metrics();
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L2/AP"), 100, 1e-3);
  EXPECT_NEAR(metrics.at("waymo/Vehicle/L2/APH"), 0, 1e-3);
}

TEST(ScorerTest, RefusesResultFilesWhereTheFormatHasNone) {
  EXPECT_THAT(NewScorer(WaymoData(), "results").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("format waymo has no result files")));
}

}  // namespace
}  // namespace kd
