// Result files of Waymo as kdctl eval waymo reads them.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/simulated_waymo.h"
#include "data/waymo.pb.h"
#include "data/waymo_dataset.h"
#include "eval/scorer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/program_answer.h"

namespace kd {
namespace {

constexpr const char* kClasses[] = {"Vehicle", "Pedestrian", "Cyclist"};

// Labels of `dataset` as a file of ground truths.
std::string GroundTruths(const Dataset& dataset, const std::vector<std::string>& samples) {
  waymo::Objects objects;
  for (const std::string& sample : samples) {
    const WaymoFrameId id = *ReadWaymoFrameId(dataset, sample);
    const Frame frame = *dataset.Read(sample);
    for (const LabeledBox& labeled : frame.boxes) {
      waymo::Object& object = *objects.add_objects();
      object.set_context_name(id.context);
      object.set_frame_timestamp_micros(id.timestamp_micros);
      waymo::Label& label = *object.mutable_object();
      label.set_num_lidar_points_in_box(labeled.num_points);
      label.set_detection_difficulty_level(labeled.difficulty);
      constexpr int kTypes[] = {kWaymoVehicle, kWaymoPedestrian, kWaymoCyclist};
      label.set_type(kTypes[labeled.label]);
      waymo::Box& box = *label.mutable_box();
      box.set_center_x(labeled.box.x);
      box.set_center_y(labeled.box.y);
      box.set_center_z(labeled.box.z);
      box.set_length(labeled.box.dx);
      box.set_width(labeled.box.dy);
      box.set_height(labeled.box.dz);
      box.set_heading(labeled.box.yaw);
    }
  }
  return objects.SerializeAsString();
}

// A simulated folder of which `val_frames` are for validation.
absl::StatusOr<v1::Data> SimulatedData(const std::string& root, uint32_t val_frames) {
  KD_RETURN_IF_ERROR(WriteSimulatedWaymo({.root = root, .train_frames = 1, .val_frames = val_frames}, nullptr));
  v1::Data data;
  data.set_format("waymo");
  data.set_root(root);
  for (const char* name : kClasses) data.add_class_names(name);
  return data;
}

TEST(WaymoResultsTest, LabelsWrittenAsDetectionsScoreFully) {
  TemporaryFolder folder;
  const auto data = SimulatedData(folder / "data", 12);
  ASSERT_THAT(data, IsOk());
  const auto dataset = OpenDataset(*data);
  ASSERT_THAT(dataset, IsOk());
  const auto samples = (*dataset)->Split("val");
  ASSERT_THAT(samples, IsOk());
  ASSERT_EQ(samples->size(), 12u);
  const auto scorer = NewScorer(*data, **dataset, folder / "results");
  ASSERT_THAT(scorer, IsOk());
  for (const std::string& sample : *samples) {
    const Frame frame = *(*dataset)->Read(sample);
    std::vector<Detection> detections;
    for (const LabeledBox& box : frame.boxes) detections.push_back({.box = box.box, .label = box.label, .score = 0.5f});
    ASSERT_THAT((*scorer)->Add(frame, detections), IsOk());
  }
  const auto metrics = (*scorer)->Finish();
  ASSERT_THAT(metrics, IsOk());
  for (const char* name : kClasses) {
    EXPECT_NEAR(metrics->at(absl::StrCat("waymo/", name, "/L2/APH")), 100, 1e-3);
  }

  const std::string truths = folder / "ground_truths.bin", found = folder / "results/detections.bin";
  std::ofstream(truths, std::ios::binary) << GroundTruths(**dataset, *samples);
  const ProgramAnswer answer =
      AnswerOf(absl::StrCat("kdctl eval waymo --ground-truths ", truths, " --detections ", found, " -o json"));
  ASSERT_EQ(answer.exit_code, 0) << answer.text;
  const nlohmann::json scores = nlohmann::json::parse(answer.text);
  int full = 0;
  for (const auto& [name, score] : scores.items()) {
    // Nobody labels signs, and some ranges are empty.
    if (score.at("AP") == 0) continue;
    EXPECT_NEAR(score.at("AP").get<double>(), 1, 1e-5) << name;
    EXPECT_NEAR(score.at("APH").get<double>(), 1, 1e-5) << name;
    ++full;
  }
  EXPECT_GE(full, 20);
  for (const char* name : {"VEHICLE", "PEDESTRIAN", "CYCLIST"}) {
    for (const int level : {1, 2}) {
      EXPECT_NEAR(scores.at(absl::StrCat("OBJECT_TYPE_TYPE_", name, "_LEVEL_", level)).at("AP").get<double>(), 1, 1e-5);
    }
  }
}

TEST(WaymoResultsTest, WithoutDetectionsTheFileIsThereAndScoresNothing) {
  TemporaryFolder folder;
  const auto data = SimulatedData(folder / "data", 1);
  ASSERT_THAT(data, IsOk());
  const auto dataset = OpenDataset(*data);
  ASSERT_THAT(dataset, IsOk());
  const std::vector<std::string> samples = *(*dataset)->Split("val");
  const auto scorer = NewScorer(*data, **dataset, folder / "results");
  ASSERT_THAT(scorer, IsOk());
  ASSERT_THAT((*scorer)->Add(*(*dataset)->Read(samples[0]), {}), IsOk());
  ASSERT_THAT((*scorer)->Finish(), IsOk());
  const std::string truths = folder / "ground_truths.bin";
  std::ofstream(truths, std::ios::binary) << GroundTruths(**dataset, samples);
  const ProgramAnswer answer = AnswerOf(absl::StrCat("kdctl eval waymo --ground-truths ", truths, " --detections ",
                                                     folder / "results/detections.bin", " -o json"));
  ASSERT_EQ(answer.exit_code, 0) << answer.text;
  EXPECT_EQ(nlohmann::json::parse(answer.text).at("OBJECT_TYPE_TYPE_VEHICLE_LEVEL_2").at("AP"), 0);
}

}  // namespace
}  // namespace kd
