#include "client/show.h"

#include <filesystem>
#include <fstream>
#include <string>

#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/simulated_nuscenes.h"
#include "data/simulator.h"
#include "eval/picture.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

class ShowTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_THAT(WriteSimulatedKitti({.root = options_.root, .train_frames = 1, .val_frames = 1}, {}), IsOk());
    ASSERT_TRUE(std::filesystem::exists(options_.root + "/training/velodyne/000000.bin"));
    SetLabels("Car 0 0 0 0 0 10 10 1.5 1.6 3.9 0 1.7 30 0\nMisc 0 0 0 0 0 10 10 1 1 1 5 1.7 20 0\n");
  }

  void SetLabels(const std::string& text) { std::ofstream(options_.root + "/training/label_2/000000.txt") << text; }

  TemporaryFolder folder_;
  ShowOptions options_{.root = folder_ / "sim", .sample = "000000", .out = folder_ / "out.png"};
};

TEST_F(ShowTest, AFrameWithoutAnImageIsDrawnFromAbove) {
  ASSERT_THAT(ShowFrame(options_), IsOk());
  const auto image = Image::ReadPng(options_.out);
  ASSERT_THAT(image, IsOk());
  // 80 m x 70 m at 1242 / 80 pixels a metre, above it the close-up of the car: a quarter of the width.
  EXPECT_EQ(image->width(), 1242);
  EXPECT_EQ(image->height(), 310 + 1087);
}

TEST_F(ShowTest, TheCameraImageStandsAboveTheView) {
  std::filesystem::create_directories(options_.root + "/training/image_2");
  ASSERT_THAT(Image(800, 100, {9, 8, 7}).WritePng(options_.root + "/training/image_2/000000.png"), IsOk());
  ASSERT_THAT(ShowFrame(options_), IsOk());
  const auto image = Image::ReadPng(options_.out);
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(image->width(), 800);
  EXPECT_EQ(image->height(), 100 + 200 + 700);
  EXPECT_EQ(image->At(0, 0), (Color{9, 8, 7}));
}

TEST_F(ShowTest, DetectionsBelowTheScoreAreLeftOut) {
  SetLabels("");
  options_.teacher = folder_ / "teacher";
  std::filesystem::create_directories(options_.teacher);
  const auto height = [&](const std::string& score) {
    std::ofstream(options_.teacher + "/000000.txt") << "Car -1 -1 0 0 0 10 10 1.5 1.6 3.9 0 1.7 30 0 " << score << "\n";
    EXPECT_THAT(ShowFrame(options_), IsOk());
    const auto image = Image::ReadPng(options_.out);
    EXPECT_THAT(image, IsOk());
    return image->height();
  };
  // With no label and no detection there is nothing to look at closely.
  EXPECT_EQ(height("0.29"), 1087);
  EXPECT_EQ(height("0.31"), 310 + 1087);
}

TEST_F(ShowTest, WhatIsMissingIsNamed) {
  options_.student = folder_ / "nowhere";
  EXPECT_THAT(ShowFrame(options_), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("nowhere/000000.txt")));
  options_.sample = "999999";
  EXPECT_THAT(ShowFrame(options_), StatusIs(absl::StatusCode::kNotFound, ::testing::HasSubstr("999999")));
}

TEST(ShowAnyTest, OwnDataIsDrawnAroundTheSensor) {
  TemporaryFolder folder;
  for (const char* part : {"ImageSets", "points", "labels"}) std::filesystem::create_directories(folder / part);
  const float points[] = {10, 0, 0, 0, -20, 5, 0, 0};
  std::ofstream(folder / "points/a.bin", std::ios::binary).write(reinterpret_cast<const char*>(points), sizeof(points));
  std::ofstream(folder / "labels/a.txt") << "10 0 0 4 2 2 0 Car\n";
  v1::Data data;
  data.set_format("custom");
  data.set_root(folder.path());
  data.add_class_names("Car");
  const auto dataset = OpenDataset(data);
  ASSERT_THAT(dataset, IsOk());
  const ShowOptions options{
      .root = folder.path(), .sample = "a", .out = folder / "out.png", .format = "custom", .dataset = dataset->get()};
  ASSERT_THAT(ShowFrame(options), IsOk());
  const auto image = Image::ReadPng(options.out);
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(image->width(), 1500);
  EXPECT_EQ(image->height(), 375 + 1500);
}

TEST(ShowAnyTest, WaymosFiveImagesStandAboveTheView) {
  const std::string path = SharedPath("data/waymo/v1/one_frame_with_images.tfrecord");
  KD_REQUIRE_FILE(path);
  TemporaryFolder folder;
  std::filesystem::create_directories(folder / "training");
  std::filesystem::create_symlink(std::filesystem::absolute(path),
                                  folder / "training/segment-1_with_camera_labels.tfrecord");
  v1::Data data;
  data.set_format("waymo");
  data.set_root(folder.path());
  for (const char* name : {"Vehicle", "Pedestrian", "Cyclist"}) data.add_class_names(name);
  const auto dataset = OpenDataset(data);
  ASSERT_THAT(dataset, IsOk());
  const ShowOptions options{.root = folder.path(),
                            .sample = "1/000",
                            .out = folder / "out.png",
                            .format = "waymo",
                            .dataset = dataset->get()};
  ASSERT_THAT(ShowFrame(options), IsOk());
  const auto image = Image::ReadPng(options.out);
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(image->width(), 1920);
  // Rows of 426 and 295 pixels, two rows of close-ups.
  EXPECT_NEAR(image->height(), 426 + 295 + 2 * 375 + 1500, 5);
}

TEST(ShowAnyTest, NuscenesSixImagesStandAboveTheViewWithWhatIsAheadOnTop) {
  TemporaryFolder folder;
  const std::string root = folder / "sim";
  ASSERT_THAT(WriteSimulatedNuscenes({.root = root, .train_frames = 1, .val_frames = 1}, {}), IsOk());
  v1::Data data;
  data.set_format("nuscenes");
  data.set_root(root);
  data.add_class_names("car");
  const auto dataset = OpenDataset(data);
  ASSERT_THAT(dataset, IsOk());
  const ShowOptions options{.root = root,
                            .sample = (*dataset)->Split("mini_train")->front(),
                            .out = folder / "out.png",
                            .format = "nuscenes",
                            .dataset = dataset->get()};
  ASSERT_THAT(ShowFrame(options), IsOk());
  const auto image = Image::ReadPng(options.out);
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(image->width(), 1920);
  // Two rows of images of 640 x 360 pixels, two of close-ups.
  EXPECT_EQ(image->height(), 2 * 360 + 2 * 375 + 1500);
}

}  // namespace
}  // namespace kd
