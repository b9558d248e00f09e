#include "data/survey.h"

#include <optional>
#include <string>
#include <vector>

#include "data/simulator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

Frame TwoBoxes() {
  return {.sample = "a",
          .points = {10, 0, 0, 0.5, 10.5, 0, 0, 0.25, 40, 0, 0, 1, -3, 2, 1, 0},
          .boxes = {{.box = {.x = 10, .y = 0, .z = 0, .dx = 4, .dy = 2, .dz = 1}, .label = 1},
                    {.box = {.x = 25, .y = 0, .z = 0, .dx = 1, .dy = 2, .dz = 3}, .label = 1}},
          .not_finite = 2};
}

TEST(SurveyTest, CountsPointsSizesAndDistances) {
  FrameSurvey survey(2);
  survey.Add(TwoBoxes());
  EXPECT_EQ(survey.frames, 1u);
  EXPECT_EQ(survey.points, 4u);
  EXPECT_EQ(survey.points_in_boxes, 2u);
  EXPECT_EQ(survey.not_finite, 2u);
  EXPECT_EQ(survey.columns[0].least, -3);
  EXPECT_EQ(survey.columns[0].most, 40);
  EXPECT_EQ(survey.classes[0].length.spread.count, 0);
  const ClassSurvey& second = survey.classes[1];
  EXPECT_EQ(second.length.spread.mean(), 2.5);
  EXPECT_NEAR(second.length.spread.deviation(), 2.1213, 1e-4);
  EXPECT_EQ(second.points, 2u);
  EXPECT_EQ(second.empty, 1u);
  EXPECT_EQ(second.distances[1], 1u);
  EXPECT_EQ(second.distances[2], 1u);
  EXPECT_EQ(second.lengths[4], 1u);
  EXPECT_EQ(second.lengths[2], 1u);
}

TEST(SurveyTest, APointInTwoBoxesCountsOnceInAll) {
  Frame frame = TwoBoxes();
  frame.boxes.push_back(frame.boxes[0]);
  FrameSurvey survey(2);
  survey.Add(frame);
  EXPECT_EQ(survey.points_in_boxes, 2u);
  EXPECT_EQ(survey.classes[1].points, 4u);
}

TEST(SurveyTest, SurveysInPartsAddUp) {
  FrameSurvey whole(3), first(3), second(3);
  for (int seed = 0; seed < 4; ++seed) {
    const Frame frame = SimulateFrame(seed).frame;
    whole.Add(frame);
    (seed % 2 == 0 ? first : second).Add(frame);
  }
  first.Add(second);
  EXPECT_EQ(first.points_in_boxes, whole.points_in_boxes);
  EXPECT_EQ(first.columns[2].least, whole.columns[2].least);
  EXPECT_EQ(first.classes[0].distances, whole.classes[0].distances);
  EXPECT_NEAR(first.classes[0].height.spread.deviation(), whole.classes[0].height.spread.deviation(), 1e-9);
  EXPECT_GT(whole.points_in_boxes, 100u);
}

TEST(SurveyTest, PercentilesStayWithinWhatWasSeen) {
  Extent extent;
  EXPECT_EQ(extent.Percentile(50), 0);
  for (int i = 0; i < 10; ++i) extent.Add(1.7f);
  EXPECT_EQ(extent.Percentile(1), 1.7f);
  EXPECT_EQ(extent.Percentile(99), 1.7f);
}

TEST(SurveyTest, TheGroundIsWhereMostPointsAroundTheSensorAre) {
  Frame frame;
  const auto add = [&](float x, float z) { frame.points.insert(frame.points.end(), {x, 0, z, 0}); };
  for (int i = 0; i < 98; ++i) add(10, i % 2 == 0 ? -1.75f : -1.65f);
  for (int i = 0; i < 500; ++i) add(40, 5);         // Too far.
  for (int i = 0; i < 500; ++i) add(1, 0);          // The vehicle's own roof.
  for (int i = 0; i < 90; ++i) add(12, 0.05f * i);  // A wall.
  EXPECT_EQ(GroundHeight(frame), std::nullopt);
  for (int i = 0; i < 2; ++i) add(10, -1.7f);
  ASSERT_TRUE(GroundHeight(frame).has_value());
  EXPECT_NEAR(*GroundHeight(frame), -1.7, 1e-4);
}

TEST(SkippedFramesTest, ReasonsOfOneKindAreCountedTogether) {
  SkippedFrames skipped;
  skipped.Add("000001", absl::DataLossError("/data/000001.bin: 31 bytes are not whole"));
  skipped.Add("000002", absl::DataLossError("/data/000002.bin: 47 bytes are not whole"));
  skipped.Add("000003", absl::NotFoundError("cannot open \"/data/000003.bin\""));
  EXPECT_EQ(skipped.count, 3u);
  ASSERT_EQ(skipped.kinds.size(), 2u);
  EXPECT_EQ(skipped.kinds.begin()->second.samples, (std::vector<std::string>{"000001", "000002"}));
  EXPECT_THAT(skipped.Lines(),
              ::testing::ElementsAre("skipped 2 frames, first 000001: /data/000001.bin: 31 bytes are not whole",
                                     "skipped 1 frame, first 000003: cannot open \"/data/000003.bin\""));
}

TEST(SkippedFramesTest, EightKindsAreShown) {
  SkippedFrames skipped;
  for (const char kind : std::string("abcdefghij")) {
    skipped.Add("f", absl::DataLossError(std::string("word") + kind));
    skipped.Add("g", absl::DataLossError(std::string("word") + kind));
  }
  ASSERT_EQ(skipped.Lines().size(), 9u);
  EXPECT_EQ(skipped.Lines().back(), "skipped 4 frames for 2 other reasons");
}

}  // namespace
}  // namespace kd
