#include <zlib.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/dataset.h"
#include "data/tfrecord.h"
#include "data/waymo.pb.h"
#include "data/waymo_frame.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

void WriteBytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Frames.

std::string Deflate(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string result(size, '\0');
  EXPECT_EQ(compress(reinterpret_cast<Bytef*>(result.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                     bytes.size()),
            Z_OK);
  result.resize(size);
  return result;
}

waymo::MatrixFloat MatrixOf(const std::vector<int>& dims, const std::vector<float>& data) {
  waymo::MatrixFloat matrix;
  for (const int dim : dims) matrix.mutable_shape()->add_dims(dim);
  for (const float value : data) matrix.add_data(value);
  return matrix;
}

void Set(waymo::Transform* transform, const WaymoTransform& m) {
  transform->clear_transform();
  for (const double value : m) transform->add_transform(value);
}

constexpr WaymoTransform kIdentity = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};

constexpr float kNone[] = {-1, 0, 0, -1};

// 2 x 4 pixels: no echo but at (row 0, column 1) and (row 1, column 3), which lies in a no-label zone.
waymo::MatrixFloat SmallImage() {
  std::vector<float> data;
  for (int pixel = 0; pixel < 8; ++pixel) {
    if (pixel == 1) {
      data.insert(data.end(), {10, 0.5f, 0.25f, -1});
    } else if (pixel == 7) {
      data.insert(data.end(), {20, 1.5f, 0.75f, 1});
    } else {
      data.insert(data.end(), std::begin(kNone), std::end(kNone));
    }
  }
  return MatrixOf({2, 4, 4}, data);
}

// The vehicle's yaw in the world is 1 rad.
const double kCos = std::cos(1.0), kSin = std::sin(1.0);

// Lasers FRONT, by bounds, and TOP, by a list; both with SmallImage() as first return, TOP as second one too. The
// vehicle does not move, far from the world's origin.
waymo::Frame SmallFrame() {
  waymo::Frame frame;
  frame.mutable_context()->set_name("segment_a");
  frame.set_timestamp_micros(1'550'000'000'000'000);
  Set(frame.mutable_pose(), {kCos, -kSin, 0, 4096, kSin, kCos, 0, -2048, 0, 0, 1, 16, 0, 0, 0, 1});
  waymo::LaserCalibration& front = *frame.mutable_context()->add_laser_calibrations();
  front.set_name(2);
  front.set_beam_inclination_min(-0.4);
  front.set_beam_inclination_max(0.4);
  Set(front.mutable_extrinsic(), {1, 0, 0, 4, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1});
  waymo::LaserCalibration& top = *frame.mutable_context()->add_laser_calibrations();
  top.set_name(kWaymoTopLaser);
  top.add_beam_inclinations(-0.3);
  top.add_beam_inclinations(0.1);
  Set(top.mutable_extrinsic(), {0, -1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1});
  const std::string image = Deflate(SmallImage().SerializeAsString());
  waymo::Laser& front_laser = *frame.add_lasers();
  front_laser.set_name(2);
  front_laser.mutable_return_1()->set_range_image_compressed(image);
  waymo::Laser& top_laser = *frame.add_lasers();
  top_laser.set_name(kWaymoTopLaser);
  top_laser.mutable_return_1()->set_range_image_compressed(image);
  top_laser.mutable_return_2()->set_range_image_compressed(image);
  std::vector<float> poses;
  for (int pixel = 0; pixel < 8; ++pixel) poses.insert(poses.end(), {0, 0, 1, 4096, -2048, 16});
  top_laser.mutable_return_1()->set_range_image_pose_compressed(
      Deflate(MatrixOf({2, 4, 6}, poses).SerializeAsString()));
  for (const int type : {kWaymoVehicle, kWaymoSign, kWaymoCyclist}) {
    waymo::Label& label = *frame.add_laser_labels();
    label.set_type(type);
    label.set_id(absl::StrCat("label", type));
    label.set_num_lidar_points_in_box(type == kWaymoCyclist ? 0 : 12);
    label.mutable_metadata()->set_speed_x(3);
    waymo::Box& box = *label.mutable_box();
    box.set_center_x(10);
    box.set_center_y(-5);
    box.set_center_z(1);
    box.set_length(4);
    box.set_width(2);
    box.set_height(1.5);
    box.set_heading(4);
  }
  waymo::CameraCalibration& camera = *frame.mutable_context()->add_camera_calibrations();
  camera.set_name(1);
  camera.set_width(1920);
  camera.set_height(1280);
  for (int i = 0; i < 9; ++i) camera.add_intrinsic(i);
  Set(camera.mutable_extrinsic(), kIdentity);
  return frame;
}

absl::StatusOr<WaymoFrame> Parse(const waymo::Frame& frame) { return ParseWaymoFrame(frame.SerializeAsString()); }

void ExpectPosition(const WaymoPoint& point, double x, double y, double z, double tolerance) {
  EXPECT_NEAR(point.position[0], x, tolerance);
  EXPECT_NEAR(point.position[1], y, tolerance);
  EXPECT_NEAR(point.position[2], z, tolerance);
}

TEST(WaymoFrameTest, PointsLieWhereBeamAndColumnPoint) {
  const auto frame = Parse(SmallFrame());
  ASSERT_THAT(frame, IsOk());
  ASSERT_EQ(frame->clouds.size(), 4u);  // return 1 of TOP and FRONT, return 2 of both
  const WaymoCloud& front = frame->clouds[1];
  EXPECT_EQ(front.laser, 2);
  EXPECT_EQ(front.ret, 1);
  ASSERT_EQ(front.points.size(), 2u);
  // Rows look 0.2 rad up and down; columns to 135, 45, -45 and -135 degrees.
  const double c = std::cos(0.2), s = std::sin(0.2), h = std::sqrt(0.5);
  ExpectPosition(front.points[0], 4 + 10 * c * h, 10 * c * h, 1 + 10 * s, 1e-12);
  ExpectPosition(front.points[1], 4 - 20 * c * h, -20 * c * h, 1 - 20 * s, 1e-12);
  EXPECT_EQ(front.points[0].intensity, 0.5f);
  EXPECT_EQ(front.points[0].elongation, 0.25f);
  EXPECT_FALSE(front.points[0].in_no_label_zone);
  EXPECT_TRUE(front.points[1].in_no_label_zone);
  EXPECT_TRUE(frame->clouds[3].points.empty());
}

TEST(WaymoFrameTest, TheTopLaserUsesItsBeamsAndTheVehiclesPoseAtEachPixel) {
  const waymo::Frame message = SmallFrame();
  const auto still = Parse(message);
  ASSERT_THAT(still, IsOk());
  const WaymoCloud &first = still->clouds[0], &second = still->clouds[2];
  ASSERT_EQ(first.laser, kWaymoTopLaser);
  ASSERT_EQ(second.laser, kWaymoTopLaser);
  // The laser is turned by 90 degrees, which the azimuth takes back; row 0 is the highest beam.
  const double h = std::sqrt(0.5);
  for (const WaymoCloud* cloud : {&first, &second}) {
    ASSERT_EQ(cloud->points.size(), 2u);
    ExpectPosition(cloud->points[0], 1 + 10 * std::cos(0.1) * h, 10 * std::cos(0.1) * h, 2 + 10 * std::sin(0.1), 1e-12);
    ExpectPosition(cloud->points[1], 1 - 20 * std::cos(0.3) * h, -20 * std::cos(0.3) * h, 2 - 20 * std::sin(0.3),
                   1e-12);
  }
  // At the second pixel the vehicle was 3 m farther along the world's x.
  waymo::Frame moving = message;
  std::vector<float> poses;
  for (int pixel = 0; pixel < 8; ++pixel) {
    poses.insert(poses.end(), {0, 0, 1, pixel == 1 ? 4099.0f : 4096.0f, -2048, 16});
  }
  moving.mutable_lasers(1)->mutable_return_1()->set_range_image_pose_compressed(
      Deflate(MatrixOf({2, 4, 6}, poses).SerializeAsString()));
  const auto moved = Parse(moving);
  ASSERT_THAT(moved, IsOk());
  const auto& [x, y, z] = first.points[0].position;
  ExpectPosition(moved->clouds[0].points[0], x + 3 * kCos, y - 3 * kSin, z, 1e-9);
  const auto& [x1, y1, z1] = first.points[1].position;
  ExpectPosition(moved->clouds[0].points[1], x1, y1, z1, 1e-9);
}

TEST(WaymoFrameTest, LabelsAndCalibrationsAreRead) {
  const auto frame = Parse(SmallFrame());
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->context, "segment_a");
  ASSERT_EQ(frame->labels.size(), 3u);
  EXPECT_EQ(frame->labels[0].length, 4);
  EXPECT_EQ(frame->labels[0].width, 2);
  EXPECT_EQ(frame->labels[0].speed_x, 3);
  EXPECT_EQ(frame->labels[0].num_points, 12);
  ASSERT_EQ(frame->lasers.size(), 2u);
  EXPECT_EQ(frame->lasers[0].laser, kWaymoTopLaser);
  EXPECT_THAT(frame->lasers[0].inclinations, ElementsAre(-0.3, 0.1));
  ASSERT_EQ(frame->cameras.size(), 1u);
  EXPECT_EQ(frame->cameras[0].width, 1920);
  EXPECT_EQ(frame->cameras[0].intrinsic[8], 8);
}

TEST(WaymoFrameTest, EmptyRangeImagesGiveNoPointsAndNeedNoName) {
  waymo::Frame message = SmallFrame();
  message.clear_lasers();
  message.add_lasers();
  message.add_lasers()->mutable_return_1();
  message.add_lasers()->set_name(2);
  const auto frame = Parse(message);
  ASSERT_THAT(frame, IsOk());
  ASSERT_EQ(frame->clouds.size(), 2u);
  EXPECT_TRUE(frame->clouds[0].points.empty());
}

// What is done to the good frame, and what is said about it.
struct Damage {
  std::function<void(waymo::Frame&)> apply;
  std::string message;
};

waymo::RangeImage& FrontImage(waymo::Frame& f) { return *f.mutable_lasers(0)->mutable_return_1(); }
waymo::RangeImage& TopImage(waymo::Frame& f) { return *f.mutable_lasers(1)->mutable_return_1(); }

std::function<void(waymo::Frame&)> FrontMatrix(const waymo::MatrixFloat& matrix) {
  return [bytes = Deflate(matrix.SerializeAsString())](waymo::Frame& f) {
    FrontImage(f).set_range_image_compressed(bytes);
  };
}

TEST(WaymoFrameTest, EveryDamageIsNamed) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  waymo::MatrixFloat far = SmallImage();
  far.set_data(4, std::numeric_limits<float>::infinity());
  const Damage damages[] = {
      {[](waymo::Frame& f) { f.clear_pose(); }, "the frame's pose has 0 numbers, expected 16 finite ones"},
      {[](waymo::Frame& f) { f.mutable_pose()->set_transform(3, kNan); },
       "the frame's pose has 16 numbers, expected 16 finite ones"},
      {[](waymo::Frame& f) { f.mutable_pose()->set_transform(0, 2); },
       "the frame's pose is not a rotation and a translation"},
      {[](waymo::Frame& f) { f.mutable_pose()->set_transform(15, 2); },
       "the frame's pose is not a rotation and a translation"},
      {[](waymo::Frame& f) { f.mutable_context()->clear_laser_calibrations(); },
       "laser FRONT has range images and no calibration"},
      {[](waymo::Frame& f) { *f.mutable_context()->add_laser_calibrations() = f.context().laser_calibrations(0); },
       "laser FRONT has two calibrations"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_laser_calibrations(0)->set_name(6); },
       "the calibration of laser 6 is of no laser that there is"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_laser_calibrations(0)->clear_extrinsic(); },
       "the extrinsic in the calibration of laser FRONT has 0 numbers, expected 16 finite ones"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_laser_calibrations(0)->clear_beam_inclination_max(); },
       "the calibration of laser FRONT does not say how its beams are inclined"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_laser_calibrations(1)->set_beam_inclinations(0, kNan); },
       "the calibration of laser TOP does not say how its beams are inclined"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_laser_calibrations(1)->add_beam_inclinations(1); },
       "return 1 of laser TOP has 2 rows, its calibration 3 beams"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_camera_calibrations(0)->add_intrinsic(1); },
       "the intrinsic in the calibration of camera 1 has 10 numbers, expected 9 finite ones"},
      {[](waymo::Frame& f) { f.mutable_context()->mutable_camera_calibrations(0)->set_name(9); },
       "the calibration of camera 9 is of no camera that there is"},
      {[](waymo::Frame& f) { *f.mutable_context()->add_camera_calibrations() = f.context().camera_calibrations(0); },
       "camera 1 has two calibrations"},
      {[](waymo::Frame& f) { f.mutable_laser_labels(2)->mutable_box()->set_center_x(kNan); },
       "the box or speed of label 2 holds nan, expected a number up to 1e+06"},
      {[](waymo::Frame& f) { *f.add_lasers() = f.lasers(0); }, "laser FRONT appears twice"},
      {[](waymo::Frame& f) { f.mutable_lasers(0)->set_name(0); }, "range images of laser 0, expected 1 to 5"},
      {[](waymo::Frame& f) { FrontImage(f).set_range_image_compressed("not zlib"); },
       "return 1 of laser FRONT is not a whole zlib stream"},
      {[](waymo::Frame& f) { FrontImage(f).mutable_range_image_compressed()->pop_back(); },
       "return 1 of laser FRONT is not a whole zlib stream"},
      {[](waymo::Frame& f) { FrontImage(f).mutable_range_image_compressed()->push_back('x'); },
       "return 1 of laser FRONT is not a whole zlib stream"},
      {[](waymo::Frame& f) { FrontImage(f).set_range_image_compressed(Deflate(std::string(size_t{65} << 20, '\0'))); },
       "up to return 1 of laser FRONT the frame unpacks to more than 64 MiB"},
      {[](waymo::Frame& f) { FrontImage(f).set_range_image_compressed(Deflate("\xff\xff")); },
       "return 1 of laser FRONT does not unpack to a matrix"},
      {FrontMatrix(MatrixOf({2, 4, 4}, {1, 2, 3})),
       "return 1 of laser FRONT has 3 numbers in a shape of 2 x 4 x 4, expected height x width x 4"},
      {FrontMatrix(MatrixOf({2, 4}, std::vector<float>(8))),
       "has 8 numbers in a shape of 2 x 4, expected height x width x 4"},
      {FrontMatrix(MatrixOf({2, 4, 3}, std::vector<float>(24))), "has 24 numbers in a shape of 2 x 4 x 3, expected"},
      {FrontMatrix(MatrixOf({-2, -4, 4}, std::vector<float>(32))),
       "has 32 numbers in a shape of -2 x -4 x 4, expected"},
      {FrontMatrix(MatrixOf({0, 4, 4}, {})), "has 0 numbers in a shape of 0 x 4 x 4, expected"},
      // 2^30 * 4 * 4 is 0 in 32 bits.
      {FrontMatrix(MatrixOf({1 << 30, 1 << 30, 4}, {})),
       "has 0 numbers in a shape of 1073741824 x 1073741824 x 4, expected"},
      {FrontMatrix(MatrixOf(std::vector<int>(1000, 1), {})),
       "has 0 numbers in a shape of 1 x 1 x 1 x 1 x ..., expected"},
      {FrontMatrix(far), "return 1 of laser FRONT: range or pose of row 0, column 1 is not finite"},
      {[](waymo::Frame& f) { TopImage(f).clear_range_image_pose_compressed(); },
       "the pose image of laser TOP is not a whole zlib stream"},
      {[](waymo::Frame& f) {
         TopImage(f).set_range_image_pose_compressed(
             Deflate(MatrixOf({1, 4, 6}, std::vector<float>(24)).SerializeAsString()));
       },
       "return 1 of laser TOP is 2 x 4, its pose image 1 x 4"},
  };
  for (const Damage& damage : damages) {
    waymo::Frame frame = SmallFrame();
    damage.apply(frame);
    const auto parsed = Parse(frame);
    EXPECT_THAT(parsed, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(damage.message)));
    EXPECT_THAT(parsed.status().message(), IsOneLine());
    EXPECT_THAT(parsed.status().message(), HasSubstr("; the file is damaged, copy it anew"));
  }
}

TEST(WaymoFrameTest, AFrameThatIsTooLargeIsRefusedBeforeItIsParsed) {
  EXPECT_THAT(
      ParseWaymoFrame(std::string((size_t{64} << 20) + 1, '\0')),
      StatusIs(absl::StatusCode::kDataLoss, HasSubstr("a frame of 67108865 bytes, at most 67108864 are possible")));
}

void ExpectUsableOrRefused(const absl::StatusOr<WaymoFrame>& frame) {
  if (!frame.ok()) {
    ASSERT_THAT(frame, StatusIs(absl::StatusCode::kDataLoss));
    ASSERT_THAT(frame.status().message(), IsOneLine());
    return;
  }
  for (const WaymoCloud& cloud : frame->clouds) {
    for (const WaymoPoint& point : cloud.points) {
      for (const double value : point.position) ASSERT_TRUE(std::isfinite(value));
    }
  }
  for (const WaymoLabel& label : frame->labels) ASSERT_TRUE(std::isfinite(label.x) && std::isfinite(label.heading));
}

TEST(WaymoFrameTest, HostilePayloadsGiveFinitePointsOrAreRefusedInOneLine) {
  int refused = 0;
  ForHostileInput(SmallFrame().SerializeAsString(), 5000, [&](const std::string& bytes) {
    const auto frame = ParseWaymoFrame(bytes);
    refused += !frame.ok();
    ExpectUsableOrRefused(frame);
  });
  EXPECT_GT(refused, 5000);
}

// Damage that zlib's checksum does not catch.
TEST(WaymoFrameTest, HostileRangeImagesGiveFinitePointsOrAreRefusedInOneLine) {
  const waymo::Frame good = SmallFrame();
  ForHostileInput(SmallImage().SerializeAsString(), 2000, [&](const std::string& bytes) {
    waymo::Frame frame = good;
    TopImage(frame).set_range_image_compressed(Deflate(bytes));
    ExpectUsableOrRefused(Parse(frame));
    frame = good;
    TopImage(frame).set_range_image_pose_compressed(Deflate(bytes));
    ExpectUsableOrRefused(Parse(frame));
  });
}

// Folders.

class WaymoFolder {
 public:
  // One segment of two frames in training and one in validation.
  WaymoFolder() {
    Write("training/segment-b_1_with_camera_labels.tfrecord", {SmallFrame(), SmallFrame()});
    Write("validation/segment-a_2_with_camera_labels.tfrecord", {SmallFrame()});
  }
  void Write(const std::string& name, const std::vector<waymo::Frame>& frames) const {
    std::string bytes;
    for (const waymo::Frame& frame : frames) bytes += FrameTfRecord(frame.SerializeAsString());
    WriteRaw(name, bytes);
  }
  void WriteRaw(const std::string& name, const std::string& bytes) const {
    std::filesystem::create_directories(std::filesystem::path(folder_ / name).parent_path());
    WriteBytes(folder_ / name, bytes);
  }
  std::string operator/(const std::string& name) const { return folder_ / name; }
  v1::Data data() const {
    v1::Data data;
    data.set_format("waymo");
    data.set_root(folder_.path());
    for (const char* name : {"Vehicle", "Pedestrian", "Cyclist"}) data.add_class_names(name);
    return data;
  }
  std::unique_ptr<Dataset> Open() const {
    auto dataset = OpenDataset(data());
    EXPECT_THAT(dataset, IsOk());
    return *std::move(dataset);
  }

 private:
  TemporaryFolder folder_;
};

TEST(WaymoDatasetTest, SplitsAreFoldersAndSamplesAreRecords) {
  const WaymoFolder folder;
  folder.Write("training/segment-a_1_with_camera_labels.tfrecord", {SmallFrame()});
  folder.WriteRaw("training/notes.txt", "not a segment");
  const auto dataset = folder.Open();
  EXPECT_THAT(*dataset->Split("train"), ElementsAre("a_1/000", "b_1/000", "b_1/001"));
  EXPECT_EQ(*dataset->Split("training"), *dataset->Split("train"));
  EXPECT_THAT(*dataset->Split("val"), ElementsAre("a_2/000"));
  EXPECT_EQ(*dataset->Split("validation"), *dataset->Split("val"));
}

TEST(WaymoDatasetTest, AFrameHasBothReturnsAndFiveFeatures) {
  const WaymoFolder folder;
  const auto frame = folder.Open()->Read("a_2/000");
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->sample, "a_2/000");
  EXPECT_EQ(frame->num_features, 5);
  ASSERT_EQ(frame->num_points(), 6u);
  EXPECT_FLOAT_EQ(frame->points[3], std::tanh(0.5f));
  EXPECT_FLOAT_EQ(frame->points[4], 0.25f);
}

TEST(WaymoDatasetTest, PointsInNoLabelZonesAreLeftOutOfTraining) {
  const WaymoFolder folder;
  const auto frame = folder.Open()->Read("b_1/001");
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->num_points(), 3u);
}

TEST(WaymoDatasetTest, BoxesOfOtherClassesOrWithoutPointsAreDropped) {
  const WaymoFolder folder;
  const auto frame = folder.Open()->Read("a_2/000");
  ASSERT_THAT(frame, IsOk());
  ASSERT_EQ(frame->boxes.size(), 1u);
  const Box3d want{.x = 10, .y = -5, .z = 1, .dx = 4, .dy = 2, .dz = 1.5, .yaw = static_cast<float>(4 - 2 * M_PI)};
  EXPECT_EQ(frame->boxes[0].box, want);
  EXPECT_EQ(frame->boxes[0].label, 0);
  EXPECT_EQ(frame->boxes[0].num_points, 12);
  EXPECT_EQ(frame->boxes[0].difficulty, 0);
}

TEST(WaymoDatasetTest, VelocitiesAreInTheVehiclesFrame) {
  const WaymoFolder folder;
  const auto frame = folder.Open()->Read("a_2/000");
  ASSERT_THAT(frame, IsOk());
  // The label moves at 3 m/s along x of the world, in which the vehicle is turned by 1 rad.
  EXPECT_NEAR(frame->boxes[0].vx, 3 * std::cos(1.0), 1e-5);
  EXPECT_NEAR(frame->boxes[0].vy, -3 * std::sin(1.0), 1e-5);
}

TEST(WaymoDatasetTest, PointsThatAreNotFiniteAreDropped) {
  waymo::Frame damaged = SmallFrame();
  waymo::MatrixFloat image = SmallImage();
  image.set_data(5, std::nanf(""));
  FrontMatrix(image)(damaged);
  const WaymoFolder folder;
  folder.Write("validation/segment-a_2_with_camera_labels.tfrecord", {damaged});
  EXPECT_EQ(folder.Open()->Read("a_2/000")->num_points(), 5u);
}

TEST(WaymoDatasetTest, ADamagedFrameIsDataLossWithItsPlace) {
  const WaymoFolder folder;
  waymo::Frame damaged = SmallFrame();
  damaged.clear_pose();
  folder.Write("validation/segment-a_2_with_camera_labels.tfrecord", {SmallFrame(), damaged});
  const size_t first = FrameTfRecord(SmallFrame().SerializeAsString()).size();
  EXPECT_THAT(
      folder.Open()->Read("a_2/001"),
      StatusIs(absl::StatusCode::kDataLoss,
               absl::StrCat(folder / "validation/segment-a_2_with_camera_labels.tfrecord", ": record 1 at byte ", first,
                            ": the frame's pose has 0 numbers, expected 16 finite ones; the file is "
                            "damaged, copy it anew")));
}

TEST(WaymoDatasetTest, ABoxWithoutSizeIsDataLoss) {
  const WaymoFolder folder;
  waymo::Frame damaged = SmallFrame();
  damaged.mutable_laser_labels(0)->mutable_box()->clear_width();
  folder.Write("validation/segment-a_2_with_camera_labels.tfrecord", {damaged});
  EXPECT_THAT(folder.Open()->Read("a_2/000"),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("label 0 (Vehicle) is 4 x 0 x 1.5 m, sizes must be above 0 and at most 100")));
}

TEST(WaymoDatasetTest, ATruncatedSegmentIsDataLossForTheSplit) {
  const WaymoFolder folder;
  std::filesystem::resize_file(folder / "training/segment-b_1_with_camera_labels.tfrecord", 1000);
  EXPECT_THAT(folder.Open()->Split("train"),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("the file is cut short, copy it anew")));
}

TEST(WaymoDatasetTest, ASampleThatIsNoneIsNotFound) {
  const WaymoFolder folder;
  const auto dataset = folder.Open();
  for (const char* sample : {"", "/", "a_2", "a_2/", "a_2/0", "a_2/0000", "a_2/-00", "a_2/+00", "a_2/ 00", "a_2/001",
                             "b_2/000", "../a_2/000", "a_2/000/", "a_2/99999999999999999999", "\n/000"}) {
    const auto frame = dataset->Read(sample);
    EXPECT_THAT(frame, StatusIs(absl::StatusCode::kNotFound, HasSubstr("no frame \""))) << sample;
    EXPECT_THAT(frame.status().message(), IsOneLine());
  }
  EXPECT_THAT(dataset->Read("a_2/001"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("its segment has frames 000 to 000")));
}

TEST(WaymoDatasetTest, AMissingSplitListsTheOthers) {
  const WaymoFolder folder;
  EXPECT_THAT(folder.Open()->Split("trian"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("no split \"trian\"")));
  EXPECT_THAT(folder.Open()->Split("test"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("there are: train, val")));
}

TEST(WaymoDatasetTest, AFolderWithoutSegmentsIsNamed) {
  v1::Data data = WaymoFolder().data();
  data.set_root("/no/such/waymo");
  EXPECT_THAT(OpenDataset(data), StatusIs(absl::StatusCode::kNotFound,
                                          "data.root \"/no/such/waymo\" holds no segments; correct the path or mount "
                                          "the data set there (Waymo's layout: "
                                          "{training,validation,testing}/segment-*.tfrecord)"));
}

TEST(WaymoDatasetTest, AClassThatWaymoHasNotIsRefused) {
  const WaymoFolder folder;
  v1::Data data = folder.data();
  data.add_class_names("Car");
  EXPECT_THAT(OpenDataset(data),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "data.class_names: Waymo has no \"Car\"; use Vehicle, Pedestrian, Sign, Cyclist"));
  data.clear_class_names();
  EXPECT_THAT(OpenDataset(data), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data.class_names is empty")));
}

TEST(WaymoDatasetTest, ASegmentInTwoFoldersIsRefused) {
  const WaymoFolder folder;
  folder.Write("validation/segment-b_1_with_camera_labels.tfrecord", {SmallFrame()});
  EXPECT_THAT(OpenDataset(folder.data()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("segment b_1 is there twice: ")));
}

TEST(WaymoDatasetTest, TheDigestChangesWithALabelAndWithTheClasses) {
  const WaymoFolder folder;
  const std::string before = *folder.Open()->Digest("val");
  EXPECT_EQ(*folder.Open()->Digest("val"), before);
  v1::Data fewer = folder.data();
  fewer.mutable_class_names()->RemoveLast();
  EXPECT_NE(*(*OpenDataset(fewer))->Digest("val"), before);
  waymo::Frame changed = SmallFrame();
  changed.mutable_laser_labels(0)->mutable_box()->set_center_x(11);
  folder.Write("validation/segment-a_2_with_camera_labels.tfrecord", {changed});
  EXPECT_NE(*folder.Open()->Digest("val"), before);
}

TEST(WaymoDatasetTest, ThreadsReadAtOnce) {
  const WaymoFolder folder;
  const auto dataset = folder.Open();
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const std::vector<std::string> samples = *dataset->Split("train");
      for (const std::string& sample : samples) EXPECT_EQ(dataset->Read(sample)->num_points(), 3u);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Files of the official tools.

TEST(WaymoRealTest, ContextLabelsAndImagesAreThoseOfTheOfficialReader) {
  KD_REQUIRE_FILE(SharedPath("data/waymo/v1"));
  KD_REQUIRE_FILE(SharedPath("golden/waymo/readers.json"));
  const auto facts = nlohmann::json::parse(*ReadFile(SharedPath("golden/waymo/readers.json")));
  for (const auto& [name, want] : facts.items()) {
    const auto file = TfRecordFile::Open(SharedPath("data/waymo/v1/" + name + ".tfrecord"));
    ASSERT_THAT(file, IsOk());
    ASSERT_EQ(file->records().size(), 1u);
    const auto frame = ParseWaymoFrame(*file->Read(0));
    ASSERT_THAT(frame, IsOk());
    EXPECT_EQ(frame->context, want["context"]);
    EXPECT_EQ(frame->timestamp_micros, want["timestamp_micros"]);
    EXPECT_EQ(frame->location, want["location"]);
    EXPECT_EQ(frame->time_of_day, want["time_of_day"]);
    EXPECT_EQ(nlohmann::json(frame->pose), want["pose"]);
    EXPECT_TRUE(frame->clouds.empty());
    ASSERT_EQ(frame->lasers.size(), want["laser_calibrations"].size());
    for (const auto& calibration : want["laser_calibrations"]) {
      const WaymoLaser& laser = frame->lasers[calibration["name"].get<size_t>() - 1];
      EXPECT_EQ(laser.laser, calibration["name"]);
      EXPECT_EQ(laser.inclinations.size(), calibration["beams"]);
      EXPECT_EQ(laser.inclination_min, calibration["min"]);
      EXPECT_EQ(laser.inclination_max, calibration["max"]);
    }
    ASSERT_EQ(frame->cameras.size(), want["camera_calibrations"].size());
    for (const auto& calibration : want["camera_calibrations"]) {
      const WaymoCamera& camera = frame->cameras[calibration["name"].get<size_t>() - 1];
      EXPECT_EQ(nlohmann::json(camera.intrinsic), calibration["intrinsic"]);
      EXPECT_EQ(nlohmann::json({camera.width, camera.height}), calibration["size"]);
    }
    ASSERT_EQ(frame->images.size(), want["images"].size());
    for (const auto& image : want["images"]) {
      const size_t camera = image["name"].get<size_t>();
      EXPECT_EQ(frame->images[camera - 1].jpeg.size(), image["bytes"]);
      EXPECT_EQ(frame->cameras[camera - 1].height, image["shape"][0]);
    }
    ASSERT_EQ(frame->labels.size(), want["laser_labels"]);
    std::map<int, int> types;
    for (const WaymoLabel& label : frame->labels) ++types[label.type];
    EXPECT_EQ(types[kWaymoVehicle], want["types"]["TYPE_VEHICLE"]);
    EXPECT_EQ(types[kWaymoPedestrian], want["types"]["TYPE_PEDESTRIAN"]);
    EXPECT_EQ(types[kWaymoSign], want["types"]["TYPE_SIGN"]);
    EXPECT_EQ(types[kWaymoCyclist], want["types"]["TYPE_CYCLIST"]);
    const WaymoLabel& first = frame->labels[0];
    EXPECT_EQ(first.id, want["first_label"]["id"]);
    EXPECT_EQ(first.type, want["first_label"]["type"]);
    EXPECT_EQ(first.num_points, want["first_label"]["points"]);
    EXPECT_EQ(nlohmann::json({first.x, first.y, first.z, first.length, first.width, first.height, first.heading}),
              want["first_label"]["box"]);
  }
}

// Calibration, pose and labels of this segment are a real frame's.
TEST(WaymoRealTest, PointsAreThoseOfTheOfficialDecoder) {
  const std::string folder = SharedPath("golden/waymo/frames");
  KD_REQUIRE_FILE(folder);
  const auto want = nlohmann::json::parse(*ReadFile(folder + "/segment-a.expected.json"));
  const auto file = TfRecordFile::Open(folder + "/segment-a.tfrecord");
  ASSERT_THAT(file, IsOk());
  ASSERT_EQ(file->records().size(), want["frames"].size());
  for (size_t i = 0; i < file->records().size(); ++i) {
    const auto& expected = want["frames"][i];
    const auto frame = ParseWaymoFrame(*file->Read(i));
    ASSERT_THAT(frame, IsOk());
    EXPECT_EQ(frame->timestamp_micros, expected["timestamp_micros"]);
    ASSERT_EQ(frame->clouds.size(), expected["lasers"].size());
    double worst = 0, worst_columns = 0, worst_official = 0, worst_top = 0;
    for (size_t c = 0; c < frame->clouds.size(); ++c) {
      const WaymoCloud& cloud = frame->clouds[c];
      const auto& laser = expected["lasers"][c];
      ASSERT_EQ(cloud.laser, laser["laser"]);
      ASSERT_EQ(cloud.ret, laser["ret"]);
      ASSERT_EQ(cloud.points.size(), laser["count"]);
      for (size_t k = 0; k < laser["index"].size(); ++k) {
        const WaymoPoint& point = cloud.points[laser["index"][k].get<size_t>()];
        const float columns[] = {point.range, point.intensity, point.elongation};
        for (int d = 0; d < 3; ++d) {
          worst_columns = std::max(worst_columns, std::abs(columns[d] - laser["points"][k][d].get<double>()));
          worst = std::max(worst, std::abs(point.position[d] - laser["xyz_double"][k][d].get<double>()));
          const double official = std::abs(point.position[d] - laser["points"][k][3 + d].get<double>());
          double& kept = cloud.laser == kWaymoTopLaser ? worst_top : worst_official;
          kept = std::max(kept, official);
        }
      }
    }
    EXPECT_LE(worst_columns, 1e-5);
    EXPECT_LE(worst, 1e-6);
    EXPECT_LE(worst_official, 2e-5);
    EXPECT_LE(worst_top, 1e-2);
  }
}

}  // namespace
}  // namespace kd
