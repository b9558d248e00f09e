// Every kind of damage in every format of data sets: one clear error, or a skip that is counted, as
// docs/broken-files.md tells.
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/dataset.h"
#include "data/survey.h"
#include "data/tfrecord.h"
#include "data/waymo.pb.h"
#include "gtest/gtest.h"
#include "tests/fuzz/nuscenes_seed.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A folder of one frame in some format.
class FrameFolder {
 public:
  virtual ~FrameFolder() = default;

  // `good` points before the sensor, then `bad` ones with a number that is not finite.
  virtual void WritePoints(size_t good, size_t bad) = 0;
  // One box of the class and length.
  virtual void WriteBox(const std::string& class_name, double length) = 0;
  // A class that the data set has.
  virtual std::string class_name() const { return "Car"; }
  virtual std::string sample() const { return "f"; }
  virtual std::string format() const { return "custom"; }

  absl::StatusOr<Frame> Read() const {
    v1::Data data;
    data.set_format(format());
    data.set_root(root());
    data.add_class_names(class_name());
    const auto dataset = OpenDataset(data);
    if (!dataset.ok()) return dataset.status();
    return (*dataset)->Read(sample());
  }

 protected:
  virtual std::string root() const { return folder_.path(); }
  void Write(const std::string& name, const std::string& bytes) const {
    const std::filesystem::path path = folder_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
  }

 private:
  const TemporaryFolder folder_;
};

// Rows of `columns` numbers.
std::string Rows(size_t good, size_t bad, size_t columns) {
  std::vector<float> values((good + bad) * columns, 0.5f);
  for (size_t i = 0; i < good + bad; ++i) {
    values[i * columns] = i < good ? 10 : kNan;
    values[i * columns + 1] = 2;
  }
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

class KittiFolder : public FrameFolder {
 public:
  KittiFolder() {
    Write("ImageSets/train.txt", "f\n");
    Write("training/calib/f.txt",
          "P2: 700 0 600 45 0 700 180 0.2 0 0 1 0.003\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
          "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n");
    Write("training/label_2/f.txt", "");
  }
  void WritePoints(size_t good, size_t bad) override { Write("training/velodyne/f.bin", Rows(good, bad, 4)); }
  void WriteBox(const std::string& class_name, double length) override {
    Write("training/label_2/f.txt", absl::StrCat(class_name, " 0 0 0 1 2 3 4 1.5 1.6 ", length, " 1 1.5 20 0\n"));
  }
  std::string format() const override { return "kitti"; }
};

class CustomFolder : public FrameFolder {
 public:
  CustomFolder() {
    Write("ImageSets/train.txt", "f\n");
    Write("labels/f.txt", "");
  }
  void WritePoints(size_t good, size_t bad) override { Write("points/f.bin", Rows(good, bad, 4)); }
  void WriteBox(const std::string& class_name, double length) override {
    Write("labels/f.txt", absl::StrCat("10 0 0 ", length, " 2 1.5 0 ", class_name, "\n"));
  }
};

class NpyFolder : public CustomFolder {
 public:
  void WritePoints(size_t good, size_t bad) override {
    std::string header = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", good + bad, ", 4), }");
    header.resize(117, ' ');
    Write("points/f.npy",
          absl::StrCat(absl::string_view("\x93NUMPY\x01\x00\x76\x00", 10), header, "\n", Rows(good, bad, 4)));
  }
};

class PcdFolder : public CustomFolder {
 public:
  void WritePoints(size_t good, size_t bad) override {
    Write("points/f.pcd",
          absl::StrCat("VERSION 0.7\nFIELDS x y z intensity\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\nWIDTH ",
                       good + bad, "\nHEIGHT 1\nPOINTS ", good + bad, "\nDATA binary\n", Rows(good, bad, 4)));
  }
};

class NuscenesFolder : public FrameFolder {
 public:
  NuscenesFolder() { WriteTables(NuscenesSeedTables()); }
  // Of the first sample: no sweep is before it.
  void WritePoints(size_t good, size_t bad) override { Write("lidar.bin", Rows(good, bad, 5)); }
  void WriteBox(const std::string& class_name, double length) override {
    auto tables = NuscenesSeedTables();
    if (class_name != "car") absl::StrReplaceAll({{"vehicle.car", class_name}}, &tables["category"]);
    absl::StrReplaceAll({{"4.5", absl::StrCat(length)}}, &tables["sample_annotation"]);
    WriteTables(tables);
  }
  std::string class_name() const override { return "car"; }
  std::string sample() const override { return std::string(32, 'a'); }
  std::string format() const override { return "nuscenes"; }

 private:
  std::string root() const override { return FrameFolder::root() + "/v1.0-mini"; }
  void WriteTables(const std::map<std::string, std::string>& tables) {
    for (const auto& [name, text] : tables) Write(absl::StrCat("v1.0-mini/", name, ".json"), text);
  }
};

class WaymoFolder : public FrameFolder {
 public:
  WaymoFolder() {
    for (int i = 0; i < 16; ++i) {
      frame_.mutable_pose()->add_transform(i % 5 == 0);
      calibration_.mutable_extrinsic()->add_transform(i % 5 == 0);
    }
    calibration_.set_name(2);
    calibration_.set_beam_inclination_min(-0.4);
    calibration_.set_beam_inclination_max(0.4);
    *frame_.mutable_context()->add_laser_calibrations() = calibration_;
    frame_.add_lasers()->set_name(2);
  }
  void WritePoints(size_t good, size_t bad) override {
    // One row where it fits; a pixel without an echo makes up for no points.
    const size_t count = std::max<size_t>(good + bad, 1), width = std::min<size_t>(count, 5000);
    waymo::MatrixFloat image;
    image.mutable_shape()->add_dims(static_cast<int>(count / width));
    image.mutable_shape()->add_dims(static_cast<int>(width));
    image.mutable_shape()->add_dims(4);
    for (size_t i = 0; i < count; ++i) {
      image.add_data(good + bad == 0 ? -1 : 10);
      image.add_data(i < good ? 0.5f : kNan);
      image.add_data(0);
      image.add_data(-1);
    }
    const std::string bytes = image.SerializeAsString();
    uLongf size = compressBound(bytes.size());
    std::string packed(size, '\0');
    ASSERT_EQ(compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                        bytes.size(), Z_BEST_SPEED),
              Z_OK);
    packed.resize(size);
    frame_.mutable_lasers(0)->mutable_return_1()->set_range_image_compressed(packed);
    WriteFrame();
  }
  void WriteBox(const std::string& class_name, double length) override {
    waymo::Label& label = *frame_.add_laser_labels();
    label.set_type(class_name == "Vehicle" ? 1 : 9);
    label.set_num_lidar_points_in_box(5);
    label.mutable_box()->set_center_x(10);
    label.mutable_box()->set_length(length);
    label.mutable_box()->set_width(2);
    label.mutable_box()->set_height(1.5);
    WriteFrame();
  }
  std::string class_name() const override { return "Vehicle"; }
  std::string sample() const override { return "a_1/000"; }
  std::string format() const override { return "waymo"; }

 private:
  void WriteFrame() const {
    Write("training/segment-a_1_with_camera_labels.tfrecord", FrameTfRecord(frame_.SerializeAsString()));
  }
  waymo::LaserCalibration calibration_;
  waymo::Frame frame_;
};

struct Format {
  const char* name;
  std::function<std::unique_ptr<FrameFolder>()> make;
  // Of a file with no points: this error, or a frame without points.
  const char* no_points_error;
  // Of ten million points likewise.
  const char* many_points_error;
  // In the error of a box of negative size, besides the rule.
  const char* box_place;
};

template <typename T>
std::unique_ptr<FrameFolder> Make() {
  return std::make_unique<T>();
}

const Format kFormats[] = {
    {"Kitti", Make<KittiFolder>, "f.bin is empty; the file is cut short, copy it anew", "", "f.txt: object 1 (Car)"},
    {"Nuscenes", Make<NuscenesFolder>, "lidar.bin is empty; the file is cut short, copy it anew", "",
     "sample_annotation.json: record 0 (11111111111111111111111111111111): field \"size\""},
    {"Waymo", Make<WaymoFolder>, "", "the frame unpacks to more than 64 MiB; the file is damaged, copy it anew",
     "record 0 at byte 0: label 0 (Vehicle)"},
    {"Bin", Make<CustomFolder>, "f.bin is empty; the file is cut short, copy it anew", "", "f.txt:1: the box is"},
    {"Npy", Make<NpyFolder>, "", "", "f.txt:1: the box is"},
    {"Pcd", Make<PcdFolder>, "", "", "f.txt:1: the box is"},
};

class BrokenFilesTest : public testing::TestWithParam<Format> {
 protected:
  BrokenFilesTest() : folder_(GetParam().make()) {}

  void ExpectDataLoss(const std::string& words) const {
    const auto frame = folder_->Read();
    EXPECT_THAT(frame, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(words)));
    EXPECT_THAT(frame.status().message(), IsOneLine());
  }

  const std::unique_ptr<FrameFolder> folder_;
};

TEST_P(BrokenFilesTest, PointsThatAreNotFiniteAreLeftOutAndCounted) {
  folder_->WritePoints(3, 2);
  const auto frame = folder_->Read();
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->num_points(), 3u);
  EXPECT_EQ(frame->not_finite, 2u);
  for (const float value : frame->points) EXPECT_TRUE(std::isfinite(value));
}

TEST_P(BrokenFilesTest, AFrameMayHaveNoPointThatIsFinite) {
  folder_->WritePoints(0, 3);
  const auto frame = folder_->Read();
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->num_points(), 0u);
  EXPECT_EQ(frame->not_finite, 3u);
}

TEST_P(BrokenFilesTest, AFileWithoutPointsIsAnErrorOrAnEmptyFrame) {
  folder_->WritePoints(0, 0);
  if (*GetParam().no_points_error != '\0') return ExpectDataLoss(GetParam().no_points_error);
  const auto frame = folder_->Read();
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->num_points(), 0u);
  FrameSurvey survey(1);
  survey.Add(*frame);
  EXPECT_EQ(survey.points, 0u);
}

TEST_P(BrokenFilesTest, TenMillionPointsAreReadOrRefused) {
  constexpr size_t kMany = 10'000'000;
  folder_->WritePoints(kMany, 0);
  folder_->WriteBox(folder_->class_name(), 4);
  if (*GetParam().many_points_error != '\0') return ExpectDataLoss(GetParam().many_points_error);
  const auto frame = folder_->Read();
  ASSERT_THAT(frame, IsOk());
  EXPECT_EQ(frame->num_points(), kMany);
  FrameSurvey survey(1);
  survey.Add(*frame);
  EXPECT_EQ(survey.points, kMany);
}

TEST_P(BrokenFilesTest, ABoxOfNegativeSizeIsAnErrorWithItsPlace) {
  folder_->WritePoints(3, 0);
  folder_->WriteBox(folder_->class_name(), -4);
  ExpectDataLoss(GetParam().box_place);
  ExpectDataLoss("sizes must be above 0");
}

TEST_P(BrokenFilesTest, ABoxOfAnotherClassIsPassedOver) {
  folder_->WritePoints(3, 0);
  folder_->WriteBox("Spaceship", 4);
  const auto frame = folder_->Read();
  ASSERT_THAT(frame, IsOk());
  EXPECT_TRUE(frame->boxes.empty());
  EXPECT_EQ(frame->num_points(), 3u);
}

TEST_P(BrokenFilesTest, ABoxOfAClassIsThere) {
  folder_->WritePoints(3, 0);
  folder_->WriteBox(folder_->class_name(), 4);
  const auto frame = folder_->Read();
  ASSERT_THAT(frame, IsOk());
  ASSERT_EQ(frame->boxes.size(), 1u);
  EXPECT_EQ(frame->boxes[0].box.dx, 4);
}

INSTANTIATE_TEST_SUITE_P(Formats, BrokenFilesTest, testing::ValuesIn(kFormats),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace kd
