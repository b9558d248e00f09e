#include "eval/scorer.h"

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/nuscenes_dataset.h"
#include "data/nuscenes_token.h"
#include "eval/nuscenes.h"
#include "eval/nuscenes_submission.h"
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
  const auto metrics = *scorer->Finish();
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
  const auto metrics = *scorer->Finish();
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
  const auto metrics = *scorer->Finish();
  EXPECT_DOUBLE_EQ(metrics.at("lidar/Vehicle/3d@0.7/all"), 100);
  EXPECT_DOUBLE_EQ(metrics.at("lidar/Vehicle/bev@0.5/0-30m"), 100);
  EXPECT_DOUBLE_EQ(metrics.at("lidar/Pedestrian/3d@0.5/50m+"), 0);
  EXPECT_DOUBLE_EQ(metrics.at("lidar/mAP"), 50);
  EXPECT_EQ(metrics.count("lidar/Vehicle/3d@0.7/50m+"), 0u);
  EXPECT_EQ(metrics.count("lidar/Cyclist/3d@0.7/all"), 0u);
}

// A labelled box as a detector would see it, and its velocity.
Detection AsDetection(const NuscenesTables& tables, const NuscenesRecording& key, const NuscenesAnnotation& label) {
  const RigidTransform to_lidar = tables.SensorToGlobal(key).Inverse();
  const Vec3 center = to_lidar.Apply(label.box_to_global.translation);
  const auto [vx, vy] = tables.Velocity(label);
  const Vec3 velocity = to_lidar.Rotate({std::isnan(vx) ? 0 : vx, std::isnan(vy) ? 0 : vy, 0});
  const auto f = [](double v) { return static_cast<float>(v); };
  return {.box = {f(center[0]), f(center[1]), f(center[2]), f(label.size[1]), f(label.size[0]), f(label.size[2]),
                  f((to_lidar * label.box_to_global).Yaw())},
          .label = label.label,
          .score = 0.5f,
          .vx = f(velocity[0]),
          .vy = f(velocity[1])};
}

TEST(NuscenesScorerTest, TheLabelsThemselvesScoreFullyAndTheirSubmissionScoresTheSame) {
  std::vector<std::string> names;
  for (const NuscenesClass& c : kNuscenesClasses) names.push_back(c.name);
  const auto dataset = NuscenesDataset::Open(SourceDir() + "/tests/golden/nuscenes/n01_small", "v1.0-mini", names);
  ASSERT_THAT(dataset, IsOk());
  const NuscenesTables& tables = (*dataset)->tables();
  v1::Data data;
  data.set_format("nuscenes");
  for (const std::string& name : names) data.add_class_names(name);
  TemporaryFolder folder;
  auto scorer = NewScorer(data, **dataset, folder.path());
  ASSERT_THAT(scorer, IsOk());
  const auto samples = tables.SplitSamples("mini_val");
  ASSERT_THAT(samples, IsOk());
  for (const int32_t sample : *samples) {
    const auto key = tables.KeyFrame(sample, kNuscenesLidar);
    ASSERT_THAT(key, IsOk());
    std::vector<Detection> detections;
    for (const int32_t index : tables.AnnotationsOf(sample)) {
      const NuscenesAnnotation& label = tables.annotations()[index];
      if (label.label < 0 || label.num_lidar_points + label.num_radar_points == 0) continue;
      detections.push_back(AsDetection(tables, **key, label));
    }
    Frame frame;
    frame.sample = FormatNuscenesToken(tables.samples()[sample].token);
    ASSERT_THAT((*scorer)->Add(frame, detections), IsOk());
  }
  const auto metrics = (*scorer)->Finish();
  ASSERT_THAT(metrics, IsOk());
  EXPECT_NEAR(metrics->at("nuscenes/car/AP"), 100, 1e-6);
  EXPECT_NEAR(metrics->at("nuscenes/pedestrian/AP"), 100, 1e-6);

  const auto submission = ReadNuscenesSubmission(folder.path() + "/submission.json", tables, *samples);
  ASSERT_THAT(submission, IsOk());
  const auto scores = EvaluateNuscenes(tables, *submission);
  ASSERT_THAT(scores, IsOk());
  EXPECT_NEAR(100 * scores->nds, metrics->at("nuscenes/NDS"), 1e-9);
  const NuscenesClassScores& cars = scores->classes[NuscenesClassIndex("car")];
  EXPECT_NEAR(cars.errors[0], 0, 1e-4) << "metres of translation";
  EXPECT_NEAR(cars.errors[1], 0, 1e-4) << "scale";
  EXPECT_NEAR(cars.errors[2], 0, 1e-4) << "radians of orientation";
  EXPECT_NEAR(cars.errors[3], 0, 1e-3) << "metres a second";
}

// As v1.0-test has none.
TEST(NuscenesScorerTest, WithoutAnnotationsASubmissionIsWrittenAndNothingScored) {
  TemporaryFolder root, folder;
  std::filesystem::copy(SourceDir() + "/tests/golden/nuscenes/n01_small/v1.0-mini", root.path() + "/v1.0-mini");
  for (const char* table : {"sample_annotation", "instance"})
    ASSERT_THAT(WriteFileAtomically(absl::StrCat(root.path(), "/v1.0-mini/", table, ".json"), "[]"), IsOk());
  const auto dataset = NuscenesDataset::Open(root.path(), "v1.0-mini", {"car"});
  ASSERT_THAT(dataset, IsOk());
  v1::Data data;
  data.set_format("nuscenes");
  data.add_class_names("car");
  EXPECT_THAT(NewScorer(data, **dataset, "").status(),
              StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("has no annotations to score")));
  auto scorer = NewScorer(data, **dataset, folder.path());
  ASSERT_THAT(scorer, IsOk());
  const NuscenesTables& tables = (*dataset)->tables();
  const auto samples = tables.SplitSamples("mini_val");
  ASSERT_THAT(samples, IsOk());
  for (const int32_t sample : *samples) {
    Frame frame;
    frame.sample = FormatNuscenesToken(tables.samples()[sample].token);
    const Detection car{.box = {.x = 10, .dx = 4, .dy = 2, .dz = 1.5f}, .label = 0, .score = 0.5f};
    ASSERT_THAT((*scorer)->Add(frame, {car}), IsOk());
  }
  const auto metrics = (*scorer)->Finish();
  ASSERT_THAT(metrics, IsOk());
  EXPECT_TRUE(metrics->empty());
  const auto submission = ReadNuscenesSubmission(folder.path() + "/submission.json", tables, *samples);
  ASSERT_THAT(submission, IsOk());
  EXPECT_EQ(submission->size(), samples->size());
}

TEST(ScorerTest, RefusesResultFilesWhereTheFormatHasNone) {
  v1::Data data = WaymoData();
  data.set_format("custom");
  EXPECT_THAT(NewScorer(data, NoDataset(), "results").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("format custom has no result files")));
}

}  // namespace
}  // namespace kd
