#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/hostile_input.h"
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
    for (const char* part :
         {"ImageSets", "training/velodyne", "training/calib", "training/label_2", "training/image_2"}) {
      std::filesystem::create_directories(folder_ / part);
    }
    Write("ImageSets/train.txt", "000001\n");
    Write("training/velodyne/000001.bin", std::string(32, '\0'));
    Write("training/calib/000001.txt", FormatKittiCalib(TurnedAxes()));
    Write("training/label_2/000001.txt", kLabel);
  }
  void Write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
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
  EXPECT_THAT(
      ParseKittiObjects("\nCar 0 0 0 1 2 3 4 1 1 1 0 0 5\n", KittiText::kLabels, "label_2/000007.txt"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "label_2/000007.txt:2: 14 fields, expected 15 (type truncated occluded alpha left top right bottom "
               "height width length x y z rotation_y); mend or remove the line"));
}

TEST(KittiLabelTest, AWordWhereANumberBelongsIsQuoted) {
  EXPECT_THAT(ParseKittiObjects("Car 0 0 0 1 2 3 4 1 tall 1 0 0 5 0\n", KittiText::kLabels, "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("field 10 is \"tall\"")));
}

TEST(KittiLabelTest, FormattedObjectsParseToTheSameNumbers) {
  const auto objects = ParseKittiObjects(kLabel, KittiText::kLabels, "f");
  ASSERT_THAT(objects, IsOk());
  const std::string line = FormatKittiObject(objects->front(), KittiText::kLabels);
  const auto again = ParseKittiObjects(line, KittiText::kLabels, "g");
  ASSERT_THAT(again, IsOk());
  EXPECT_DOUBLE_EQ(again->front().z, 58.49);
  EXPECT_DOUBLE_EQ(again->front().rotation_y, 1.57);
  EXPECT_EQ(again->front().type, "Car");
}

TEST(KittiLabelTest, ANumberBeyondAnyLengthIsRefused) {
  EXPECT_THAT(ParseKittiObjects("Car 0 0 0 1 2 3 4 1 1 1 1e300 0 5 0\n", KittiText::kLabels, "f"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f:1: field 12 is \"1e300\"")));
}

TEST(KittiLabelTest, AResultNeedsItsScore) {
  EXPECT_THAT(ParseKittiObjects(kLabel, KittiText::kResults, "data/000001.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data/000001.txt:1: 15 fields, expected 16")));
  const auto results = ParseKittiObjects("Car -1 -1 -10 1 2 3 4 1 1 1 0 0 5 0 0.25\n", KittiText::kResults, "f");
  ASSERT_THAT(results, IsOk());
  EXPECT_EQ(results->front().score, 0.25);
}

TEST(KittiLabelTest, HostileTextIsParsedToUsableNumbersOrRefusedInOneLine) {
  int parsed = 0, refused = 0;
  ForHostileInput(kLabel, 5000, [&](const std::string& text) {
    const auto objects = ParseKittiObjects(text, KittiText::kLabels, "f");
    if (!objects.ok()) {
      ++refused;
      ASSERT_THAT(objects, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f:"))) << text;
      ASSERT_THAT(objects.status().message(), IsOneLine()) << text;
      return;
    }
    ++parsed;
    for (const KittiObject& object : *objects) {
      ASSERT_TRUE(std::isfinite(object.x * object.length) && std::isfinite(object.rotation_y)) << text;
    }
  });
  EXPECT_GT(parsed, 300);
  EXPECT_GT(refused, 500);
}

TEST(KittiLabelTest, LineEndsOfAnotherSystemChangeNothing) {
  const auto objects = ParseKittiObjects("Car 0 0 0 1 2 3 4 1 1 1 0 0 5 0\r\n\r\n", KittiText::kLabels, "f");
  ASSERT_THAT(objects, IsOk());
  ASSERT_EQ(objects->size(), 1u);
  EXPECT_EQ(objects->front().rotation_y, 0);
}

TEST(KittiCalibTest, HostileTextIsParsedToAnInvertibleTransformOrRefusedInOneLine) {
  int parsed = 0, refused = 0;
  ForHostileInput(FormatKittiCalib(TurnedAxes()), 3000, [&](const std::string& text) {
    const auto calib = ParseKittiCalib(text, "f");
    if (!calib.ok()) {
      ++refused;
      ASSERT_THAT(calib, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("f:"))) << text;
      ASSERT_THAT(calib.status().message(), IsOneLine()) << text;
      return;
    }
    ++parsed;
    const Vec3 back = calib->CameraToLidar(calib->LidarToCamera({10, 2, -1}));
    // A translation of up to 1e9 m leaves 1e-7 m of ten.
    ASSERT_NEAR(back[0], 10, 1e-3) << text;
  });
  EXPECT_GT(parsed, 500);
  EXPECT_GT(refused, 500);
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

TEST(KittiCalibTest, AMatrixThatIsNoRotationIsNamed) {
  KittiCalib calib = TurnedAxes();
  calib.tr_velo_to_cam = {};
  EXPECT_THAT(ParseKittiCalib(FormatKittiCalib(calib), "calib.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("calib.txt:6: Tr_velo_to_cam is no rotation")));
}

TEST(KittiCalibTest, AWrongNumberOfValuesIsCounted) {
  EXPECT_THAT(ParseKittiCalib("\nP2: 1 2 3\n", "calib.txt"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("calib.txt:2: P2 has 3 values, expected 12")));
}

TEST(KittiCalibTest, ABoxThatReachesBehindTheCameraFillsTheImageToItsBorder) {
  // 1 m to the right of the camera, from 8 m behind to 8 m before it, as high as the camera.
  const Box3d box{.x = 0, .y = -2, .z = 0, .dx = 16, .dy = 2, .dz = 2, .yaw = 0};
  const KittiObject object = LidarToKitti(box, "Truck", 1, TurnedAxes(), {});
  // Its far inner edge is 1 m to the right at 8 m, and the near part runs out of the image on three sides.
  EXPECT_NEAR(object.box2d[0], 600 + 700 * 1.0 / 8, 1e-6);
  EXPECT_EQ(object.box2d[1], 0);
  EXPECT_EQ(object.box2d[2], 1241);
  EXPECT_EQ(object.box2d[3], 374);
}

TEST(KittiCalibTest, ABoxBehindTheCameraHasNo2dBox) {
  const Box3d box{.x = -20, .y = 0, .z = 0, .dx = 4, .dy = 2, .dz = 2, .yaw = 1};
  EXPECT_EQ(LidarToKitti(box, "Car", 1, TurnedAxes(), {}).box2d, (std::array<double, 4>{}));
}

TEST(KittiDatasetTest, ATruncatedPointFileIsDataLossWithARemedy) {
  KittiFolder folder;
  const std::string path = folder.data().root() + "/training/velodyne/000001.bin";
  folder.Write("training/velodyne/000001.bin", std::string(31, '\0'));
  EXPECT_THAT(
      (*OpenDataset(folder.data()))->Read("000001"),
      StatusIs(absl::StatusCode::kDataLoss, path + ": 31 bytes are not a whole number of points (16 bytes each); the "
                                                   "file is cut short, copy it anew"));
  folder.Write("training/velodyne/000001.bin", "");
  EXPECT_THAT((*OpenDataset(folder.data()))->Read("000001"),
              StatusIs(absl::StatusCode::kDataLoss, path + " is empty; the file is cut short, copy it anew"));
}

// Cut at a border between two points, nothing in the file tells; the size is part of what teacher and worker compare.
TEST(KittiDatasetTest, TheDigestChangesWithThePointFilesSize) {
  KittiFolder folder;
  const std::string before = *(*OpenDataset(folder.data()))->Digest("train");
  folder.Write("training/velodyne/000001.bin", std::string(16, '\0'));
  EXPECT_NE(*(*OpenDataset(folder.data()))->Digest("train"), before);
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
  EXPECT_THAT(
      OpenDataset(data),
      StatusIs(absl::StatusCode::kNotFound,
               "data.root \"/no/such/kitti\": /no/such/kitti is not a folder; correct the path or mount the data set "
               "there (KITTI's layout: ImageSets/ and training/{velodyne,calib,label_2}/)"));
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

TEST(KittiDatasetTest, HostileSplitsHoldFrameNamesOrAreRefusedInOneLine) {
  KittiFolder folder;
  const auto dataset = *OpenDataset(folder.data());
  int refused = 0;
  ForHostileInput("000001\n000002\n000003\n", 300, [&](const std::string& text) {
    folder.Write("ImageSets/train.txt", text);
    const auto names = dataset->Split("train");
    if (!names.ok()) {
      ++refused;
      ASSERT_THAT(names, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("train.txt:"))) << text;
      ASSERT_THAT(names.status().message(), IsOneLine()) << text;
      return;
    }
    for (const std::string& name : *names) ASSERT_EQ(name.find_first_of("./:\\"), std::string::npos) << name;
  });
  EXPECT_GT(refused, 100);
}

TEST(KittiDatasetTest, HostilePointFilesAreWholeAndFiniteOrRefusedInOneLine) {
  KittiFolder folder;
  const auto dataset = *OpenDataset(folder.data());
  const float points[] = {1, 2, 3, 0.5f, 4, 5, 6, 0.25f, 7, 8, 9, 0};
  int refused = 0;
  ForHostileInput(std::string(reinterpret_cast<const char*>(points), sizeof(points)), 300,
                  [&](const std::string& bytes) {
                    folder.Write("training/velodyne/000001.bin", bytes);
                    const auto frame = dataset->Read("000001");
                    ASSERT_EQ(frame.ok(), bytes.size() % 16 == 0 && !bytes.empty());
                    if (!frame.ok()) {
                      ++refused;
                      ASSERT_THAT(frame, StatusIs(absl::StatusCode::kDataLoss, HasSubstr("000001.bin")));
                      ASSERT_THAT(frame.status().message(), IsOneLine());
                      return;
                    }
                    ASSERT_LE(frame->num_points(), bytes.size() / 16);
                    for (const float value : frame->points) ASSERT_TRUE(std::isfinite(value));
                  });
  EXPECT_GT(refused, 40);
}

TEST(KittiDatasetTest, AnObjectLargerThanAnyVehicleIsDataLoss) {
  KittiFolder folder;
  folder.Write("training/label_2/000001.txt", "Car 0 0 0 1 2 3 4 1 1 1e8 0 0 5 0\n");
  EXPECT_THAT(
      (*OpenDataset(folder.data()))->Read("000001"),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("sizes must be above 0 and at most 100; mend or remove")));
}

TEST(KittiDatasetTest, PointsThatAreNotFiniteAreDropped) {
  KittiFolder folder;
  const float points[] = {1, 2, 3, 0.5f, std::nanf(""), 2, 3, 0.5f, 4, 5, 6, 0.25f, 7, 8, INFINITY, 0};
  folder.Write("training/velodyne/000001.bin", std::string(reinterpret_cast<const char*>(points), sizeof(points)));
  EXPECT_EQ((*OpenDataset(folder.data()))->Read("000001")->points, (std::vector<float>{1, 2, 3, 0.5f, 4, 5, 6, 0.25f}));
}

TEST(KittiDatasetTest, ASampleThatIsAPathIsNotFound) {
  KittiFolder folder;
  EXPECT_THAT((*OpenDataset(folder.data()))->Read("../velodyne/000001"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no frame \"../velodyne/000001\"")));
}

TEST(KittiDatasetTest, ABoxWithoutSizeIsDataLoss) {
  KittiFolder folder;
  folder.Write("training/label_2/000001.txt", "Car 0 0 0 1 2 3 4 -1 -1 -1 0 0 5 0\n");
  EXPECT_THAT((*OpenDataset(folder.data()))->Read("000001"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("000001.txt: object 1 (Car)")));
}

TEST(KittiDatasetTest, DontCareAndOtherClassesAreDropped) {
  KittiFolder folder;
  folder.Write("training/label_2/000001.txt", std::string("DontCare -1 -1 -10 1 2 3 4 -1 -1 -1 -1000 -1000 -1000 -10\n"
                                                          "Van 0 0 0 1 2 3 4 1 1 1 0 0 5 0\n") +
                                                  kLabel);
  const auto frame = (*OpenDataset(folder.data()))->Read("000001");
  ASSERT_THAT(frame, IsOk());
  ASSERT_EQ(frame->boxes.size(), 1u);
  EXPECT_EQ(frame->boxes[0].label, 0);
  EXPECT_FLOAT_EQ(frame->boxes[0].box.dx, 3.69f);
}

TEST(KittiDatasetTest, AnImageThatIsNoPngIsDataLoss) {
  KittiFolder folder;
  folder.Write("training/image_2/000001.png", "JFIF");
  v1::Data data = folder.data();
  data.set_fov_crop(true);
  EXPECT_THAT((*OpenDataset(data))->Read("000001"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("000001.png")));
  folder.Write("training/image_2/000001.png", std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\0\0\1\0", 24));
  EXPECT_THAT((*OpenDataset(data))->Read("000001"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("4294967295 x 256 pixels")));
}

TEST(KittiDatasetTest, TheDigestChangesWithALabel) {
  KittiFolder folder;
  const auto dataset = *OpenDataset(folder.data());
  const auto before = dataset->Digest("train");
  ASSERT_THAT(before, IsOk());
  folder.Write("training/label_2/000001.txt", "");
  EXPECT_NE(*dataset->Digest("train"), *before);
}

// In the camera frame, where a label's box stands upright: the LiDAR is tilted against it by up to a degree, so that
// its upright box holds some other points of the ground.
int CountInside(const std::vector<float>& points, const KittiObject& o, const KittiCalib& calib) {
  const double c = std::cos(o.rotation_y), s = std::sin(o.rotation_y);
  int count = 0;
  for (size_t i = 0; i < points.size(); i += 4) {
    const Vec3 camera = calib.LidarToCamera({points[i], points[i + 1], points[i + 2]});
    const double x = camera[0] - o.x, y = camera[1] - o.y, z = camera[2] - o.z;
    count +=
        std::abs(c * x - s * z) <= o.length / 2 && std::abs(s * x + c * z) <= o.width / 2 && y <= 0 && y >= -o.height;
  }
  return count;
}

size_t CountInImage(const std::vector<float>& points, const KittiCalib& calib, const ImageSize& image) {
  size_t count = 0;
  for (size_t i = 0; i < points.size(); i += 4) {
    const Vec3 camera = calib.LidarToCamera({points[i], points[i + 1], points[i + 2]});
    const Vec3 pixel = calib.CameraToImage(camera);
    count += camera[2] >= 0 && pixel[0] >= 0 && pixel[0] < image.width && pixel[1] >= 0 && pixel[1] < image.height;
  }
  return count;
}

// Two of the frames are only there as points already cropped to the image.
TEST(KittiDatasetTest, RealFramesMatchTheirKnownFacts) {
  KD_REQUIRE_FILE(SharedPath("data/kitti/training/velodyne/000000.bin"));
  KD_REQUIRE_FILE(SharedPath("golden/kitti/readers.json"));
  const auto facts = nlohmann::json::parse(*ReadFile(SharedPath("golden/kitti/readers.json")));
  const std::string root = SharedPath("data/kitti");
  for (const auto& [sample, fact] : facts.items()) {
    const std::string whole = root + "/training/velodyne/" + sample + ".bin";
    const bool cropped = !std::filesystem::exists(whole);
    const auto points = ReadKittiPoints(cropped ? root + "/training/velodyne_reduced/" + sample + ".bin" : whole);
    ASSERT_THAT(points, IsOk());
    EXPECT_NEAR(static_cast<double>(points->size() / 4), fact["points"], 2) << sample;
    for (int i = 0; i < 4; ++i) EXPECT_NEAR((*points)[i], fact["first_point"][i], 1e-5) << sample;
    const ImageSize image = *ReadKittiImageSize(root, sample);
    EXPECT_EQ(image.width, fact["image"][0]) << sample;
    EXPECT_EQ(image.height, fact["image"][1]) << sample;
    const KittiCalib calib = *ReadKittiCalib(root, sample);
    EXPECT_NEAR(static_cast<double>(CountInImage(*points, calib, image)), fact["points_in_image"], 2) << sample;

    const std::string label_path = root + "/training/label_2/" + sample + ".txt";
    const auto objects = *ParseKittiObjects(*ReadFile(label_path), KittiText::kLabels, label_path);
    size_t n = 0;
    for (const KittiObject& object : objects) {
      if (object.type == "DontCare") continue;
      ASSERT_LT(n, fact["objects"].size()) << sample;
      const auto& want = fact["objects"][n++];
      EXPECT_EQ(object.type, want["type"]) << sample;
      const Box3d box = KittiToLidar(object, calib);
      EXPECT_NEAR(box.x, want["center_lidar"][0], 1e-5) << sample;
      EXPECT_NEAR(box.y, want["center_lidar"][1], 1e-5) << sample;
      EXPECT_NEAR(box.z, want["center_lidar"][2], 1e-5) << sample;
      EXPECT_NEAR(box.yaw, want["heading_lidar"], 1e-5) << sample;
      EXPECT_NEAR(box.dx, want["lwh"][0], 1e-5) << sample;
      EXPECT_NEAR(box.dy, want["lwh"][1], 1e-5) << sample;
      EXPECT_NEAR(box.dz, want["lwh"][2], 1e-5) << sample;
      EXPECT_NEAR(CountInside(*points, object, calib), want["points_in_box"], 2) << sample << " object " << n;
    }
    EXPECT_EQ(n, fact["objects"].size()) << sample;
  }
  EXPECT_EQ(facts.size(), 6u);
}

TEST(KittiDatasetTest, RealFramesAreCroppedToTheirImage) {
  KD_REQUIRE_FILE(SharedPath("data/kitti/training/velodyne/000000.bin"));
  KD_REQUIRE_FILE(SharedPath("golden/kitti/readers.json"));
  const auto facts = nlohmann::json::parse(*ReadFile(SharedPath("golden/kitti/readers.json")));
  v1::Data data;
  data.set_format("kitti");
  data.set_root(SharedPath("data/kitti"));
  data.set_fov_crop(true);
  data.add_class_names("Car");
  const auto dataset = *OpenDataset(data);
  for (const char* sample : {"000000", "000001", "000002", "000003"}) {
    const auto frame = dataset->Read(sample);
    ASSERT_THAT(frame, IsOk());
    EXPECT_NEAR(static_cast<double>(frame->num_points()), facts[sample]["points_in_image"], 2) << sample;
  }
}

}  // namespace
}  // namespace kd
