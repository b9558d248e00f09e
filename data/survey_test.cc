#include "data/survey.h"

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
  EXPECT_EQ(survey.classes[0].length.count, 0);
  const ClassSurvey& second = survey.classes[1];
  EXPECT_EQ(second.length.mean(), 2.5);
  EXPECT_NEAR(second.length.deviation(), 2.1213, 1e-4);
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
  EXPECT_NEAR(first.classes[0].height.deviation(), whole.classes[0].height.deviation(), 1e-9);
  EXPECT_GT(whole.points_in_boxes, 100u);
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
