#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/file.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/kitti_calib.h"
#include "data/kitti_dataset.h"
#include "data/kitti_label.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr char kLabel[] = "Car 0.00 0 1.85 387.63 181.54 423.81 203.12 1.67 1.87 3.69 -16.53 2.39 58.49 1.57\n";

// Axes turned only: LiDAR x forward -> camera z.
KittiCalib TurnedAxes() {
  KittiCalib calib{};
  calib.p2 = {700, 0, 600, 0, 0, 700, 180, 0, 0, 0, 1, 0};
  calib.r0_rect = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  calib.tr_velo_to_cam = {0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0};
  return calib;
}

// A folder with one frame.
class KittiFolder {
 public:
  KittiFolder() {
    for (const char* part : {"ImageSets", "training/velodyne", "training/calib", "training/label_2"}) {
      std::filesystem::create_directories(folder_ / part);
    }
    Write("ImageSets/train.txt", "000001\n");
    Write("training/velodyne/000001.bin", std::string(32, '\0'));
    Write("training/calib/000001.txt", FormatKittiCalib(TurnedAxes()));
    Write("training/label_2/000001.txt", kLabel);
  }
  void Write(const std::string& name, const std::string& bytes) { std::ofstream(folder_ / name) << bytes; }
  v1::Data data() const {
    v1::Data data;
    data.set_format("kitti");
    data.set_root(folder_.path());
    data.add_class_names("Car");
    return data;
  }

 private:
  TemporaryFolder folder_;
};

TEST(KittiLabelTest, FourteenFieldsAreRefusedWithFileAndLine) {
  EXPECT_THAT(ParseKittiObjects("\nCar 0 0 0 1 2 3 4 1 1 1 0 0 5\n", KittiText::kLabels, "label_2/000007.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("label_2/000007.txt:2: 14 fields, expected 15")));
}

TEST(KittiLabelTest, AWordWhereANumberBelongsIsQuoted) {
  EXPECT_THAT(ParseKittiObjects("Car 0 0 0 1 2 3 4 1 tall 1 0 0 5 0\n", KittiText::kLabels, "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("field 10 is \"tall\"")));
}

TEST(KittiLabelTest, FormattedObjectsParseToTheSameNumbers) {
  const auto objects = ParseKittiObjects(kLabel, KittiText::kLabels, "f");
  ASSERT_THAT(objects, IsOk());
  const auto again = ParseKittiObjects(FormatKittiObject(objects->front(), KittiText::kLabels), KittiText::kLabels, "g");
  ASSERT_THAT(again, IsOk());
  EXPECT_DOUBLE_EQ(again->front().z, 58.49);
  EXPECT_DOUBLE_EQ(again->front().rotation_y, 1.57);
  EXPECT_EQ(again->front().type, "Car");
}

TEST(KittiLabelTest, MutatedTextNeverCrashes) {
  CounterRng rng(11);
  int parsed = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string text = kLabel;
    constexpr absl::string_view kBytes = "0123456789.-+e \n\t\0x\xff";
    for (int i = 0; i < 2; ++i) text[rng.Below(text.size())] = kBytes[rng.Below(kBytes.size())];
    parsed += ParseKittiObjects(text, KittiText::kLabels, "f").ok();
    (void)ParseKittiCalib(text, "f");
  }
  EXPECT_GT(parsed, 0);
  EXPECT_LT(parsed, 5000);
}

TEST(KittiCalibTest, LidarAndCameraAreInverse) {
  const KittiCalib calib = TurnedAxes();
  const Vec3 there = calib.LidarToCamera({10, 2, -1});
  EXPECT_NEAR(there[2], 10, 1e-12);
  EXPECT_NEAR(there[0], -2, 1e-12);
  const Vec3 back = calib.CameraToLidar(there);
  EXPECT_NEAR(back[0], 10, 1e-12);
  EXPECT_NEAR(back[1], 2, 1e-12);
  EXPECT_NEAR(back[2], -1, 1e-12);
}

TEST(KittiCalibTest, ABoxSurvivesTheRoundTrip) {
  const KittiCalib calib = TurnedAxes();
  const Box3d box{.x = 20, .y = -3, .z = -1, .dx = 4, .dy = 1.8f, .dz = 1.5f, .yaw = 2.5f};
  const KittiObject object = LidarToKitti(box, "Car", 0.9, calib, {});
  const Box3d back = KittiToLidar(object, calib);
  EXPECT_NEAR(back.x, box.x, 1e-5);
  EXPECT_NEAR(back.z, box.z, 1e-5);
  EXPECT_NEAR(back.yaw, box.yaw, 1e-5);
  // The nearest and farthest faces are within 2.2 m of the centre: pixels of a 700 px focal length.
  EXPECT_LT(object.box2d[0], 600 + 700 * 3 / 20.0);
  EXPECT_GT(object.box2d[2], 600 + 700 * 3 / 20.0);
}

TEST(KittiCalibTest, AMissingKeyIsNamed) {
  EXPECT_THAT(ParseKittiCalib("P2: 1 2 3 4 5 6 7 8 9 10 11 12\n", "calib.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("R0_rect")));
}

TEST(KittiDatasetTest, ATruncatedPointFileIsDataLoss) {
  KittiFolder folder;
  folder.Write("training/velodyne/000001.bin", std::string(31, '\0'));
  EXPECT_THAT((*OpenDataset(folder.data()))->Read("000001"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("31 bytes are not a whole number of points")));
}

TEST(KittiDatasetTest, ADamagedLabelIsDataLossWithItsLine) {
  KittiFolder folder;
  folder.Write("training/label_2/000001.txt", "Car 0 0\n");
  EXPECT_THAT((*OpenDataset(folder.data()))->Read("000001"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("000001.txt:1: 3 fields")));
}

TEST(KittiDatasetTest, AMissingFolderIsNamed) {
  v1::Data data;
  data.set_format("kitti");
  data.set_root("/no/such/kitti");
  data.add_class_names("Car");
  EXPECT_THAT(OpenDataset(data), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/kitti")));
}

TEST(KittiDatasetTest, AMissingSplitListsTheOthers) {
  KittiFolder folder;
  EXPECT_THAT((*OpenDataset(folder.data()))->Split("trian"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there are: train")));
}

TEST(KittiDatasetTest, ASplitLineThatIsAPathIsRefused) {
  KittiFolder folder;
  folder.Write("ImageSets/train.txt", "000001\n../../etc/passwd\n");
  EXPECT_THAT((*OpenDataset(folder.data()))->Split("train"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("train.txt:2")));
}

TEST(KittiDatasetTest, TheDigestChangesWithALabel) {
  KittiFolder folder;
  const auto dataset = *OpenDataset(folder.data());
  const auto before = dataset->Digest("train");
  ASSERT_THAT(before, IsOk());
  folder.Write("training/label_2/000001.txt", "");
  EXPECT_NE(*dataset->Digest("train"), *before);
}

TEST(KittiDatasetTest, RealFramesMatchTheirKnownFacts) {
  KD_REQUIRE_FILE(SharedPath("data/kitti/training/velodyne/000000.bin"));
  KD_REQUIRE_FILE(SharedPath("golden/kitti/readers.json"));
  const auto facts = nlohmann::json::parse(*ReadFile(SharedPath("golden/kitti/readers.json")));
  const std::string root = SharedPath("data/kitti");
  int checked = 0;
  for (const auto& [sample, fact] : facts.items()) {
    const std::string path = root + "/training/velodyne/" + sample + ".bin";
    if (!std::filesystem::exists(path)) continue;
    const auto points = ReadKittiPoints(path);
    ASSERT_THAT(points, IsOk());
    EXPECT_NEAR(static_cast<double>(points->size() / 4), fact["points"], 2) << sample;
    for (int i = 0; i < 4; ++i) EXPECT_NEAR((*points)[i], fact["first_point"][i], 1e-5);
    const ImageSize image = *ReadKittiImageSize(root, sample);
    EXPECT_EQ(image.width, fact["image"][0]);
    EXPECT_EQ(image.height, fact["image"][1]);

    v1::Data data;
    data.set_format("kitti");
    data.set_root(root);
    data.set_fov_crop(true);
    data.add_class_names("Car");
    const auto frame = (*OpenDataset(data))->Read(sample);
    ASSERT_THAT(frame, IsOk());
    EXPECT_NEAR(static_cast<double>(frame->num_points()), fact["points_in_image"], 2) << sample;

    const KittiCalib calib = *ReadKittiCalib(root, sample);
    const auto objects = *ParseKittiObjects(*ReadFile(root + "/training/label_2/" + sample + ".txt"), KittiText::kLabels, "f");
    size_t n = 0;
    for (const KittiObject& object : objects) {
      if (object.type == "DontCare") continue;
      ASSERT_LT(n, fact["objects"].size());
      const auto& want = fact["objects"][n++];
      EXPECT_EQ(object.type, want["type"]);
      const Box3d box = KittiToLidar(object, calib);
      EXPECT_NEAR(box.x, want["center_lidar"][0], 1e-5);
      EXPECT_NEAR(box.y, want["center_lidar"][1], 1e-5);
      EXPECT_NEAR(box.z, want["center_lidar"][2], 1e-5);
      EXPECT_NEAR(box.yaw, want["heading_lidar"], 1e-5);
      EXPECT_NEAR(box.dx, want["lwh"][0], 1e-5);
    }
    EXPECT_EQ(n, fact["objects"].size());
    ++checked;
  }
  EXPECT_GE(checked, 4);
}

}  // namespace
}  // namespace kd
