// kdctl data check on simulated folders whose files break a convention of their layout on purpose: it says which one,
// and what to do.
#include <zlib.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/kitti_label.h"
#include "data/simulated_nuscenes.h"
#include "data/simulated_waymo.h"
#include "data/simulator.h"
#include "data/tfrecord.h"
#include "data/waymo.pb.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/program_answer.h"

namespace kd {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A label's fields as its file has them.
struct Label {
  double x, y, z, length, width, height, heading;

  void Multiply(double by) {
    for (double* value : {&x, &y, &z, &length, &width, &height}) *value *= by;
  }
};

struct Fault {
  const char* name;
  std::function<void(Label&)> label;
  double point_unit, intensity_unit;
  // In the verdict and in the line that says what to do.
  const char *verdict, *remedy;
};

std::string Replaced(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

// Ten training frames of KITTI's layout.
struct KittiLayout {
  static constexpr char kSplit[] = "train";

  static absl::Status Simulate(const std::string& root) {
    return WriteSimulatedKitti({.root = root, .train_frames = 10, .val_frames = 1}, nullptr);
  }

  static void Break(const std::string& root, const Fault& fault) {
    for (const auto& entry : fs::directory_iterator(root + "/training/label_2")) {
      const std::string path = entry.path().string();
      std::string text;
      const std::string old = *ReadFile(path);
      std::vector<KittiObject> objects = *ParseKittiObjects(old, KittiText::kLabels, path);
      for (KittiObject& object : objects) {
        Label label = {object.x, object.y, object.z, object.length, object.width, object.height, object.rotation_y};
        fault.label(label);
        object.x = label.x;
        object.y = label.y;
        object.z = label.z;
        object.length = label.length;
        object.width = label.width;
        object.height = label.height;
        object.rotation_y = label.heading;
        absl::StrAppend(&text, FormatKittiObject(object, KittiText::kLabels), "\n");
      }
      Replaced(path, text);
    }
    for (const auto& entry : fs::directory_iterator(root + "/training/velodyne")) {
      std::string bytes = *ReadFile(entry.path().string());
      std::vector<float> points(bytes.size() / sizeof(float));
      std::memcpy(points.data(), bytes.data(), bytes.size());
      for (size_t i = 0; i < points.size(); ++i) {
        points[i] *= static_cast<float>(i % 4 == 3 ? fault.intensity_unit : fault.point_unit);
      }
      std::memcpy(bytes.data(), points.data(), bytes.size());
      Replaced(entry.path().string(), bytes);
    }
  }
};

std::string Inflated(const std::string& packed) {
  std::string bytes(size_t{16} << 20, '\0');
  uLongf size = bytes.size();
  EXPECT_EQ(uncompress(reinterpret_cast<Bytef*>(bytes.data()), &size, reinterpret_cast<const Bytef*>(packed.data()),
                       packed.size()),
            Z_OK);
  bytes.resize(size);
  return bytes;
}

std::string Deflated(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string packed(size, '\0');
  EXPECT_EQ(compress2(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
                      bytes.size(), Z_BEST_SPEED),
            Z_OK);
  packed.resize(size);
  return packed;
}

// A segment of ten training frames of Waymo's layout.
struct WaymoLayout {
  static constexpr char kSplit[] = "train";

  static absl::Status Simulate(const std::string& root) {
    return WriteSimulatedWaymo({.root = root, .train_frames = 10, .val_frames = 1}, nullptr);
  }

  static void Break(const std::string& root, const Fault& fault) {
    for (const auto& entry : fs::directory_iterator(root + "/training")) {
      const TfRecordFile file = *TfRecordFile::Open(entry.path().string());
      std::string bytes;
      for (size_t i = 0; i < file.records().size(); ++i) {
        waymo::Frame frame;
        ASSERT_TRUE(frame.ParseFromString(*file.Read(i)));
        for (waymo::Label& message : *frame.mutable_laser_labels()) Break(*message.mutable_box(), fault);
        if (fault.point_unit != 1 || fault.intensity_unit != 1) BreakPoints(frame, fault);
        bytes += FrameTfRecord(frame.SerializeAsString());
      }
      Replaced(entry.path().string(), bytes);
    }
  }

 private:
  static void Break(waymo::Box& box, const Fault& fault) {
    Label label = {box.center_x(), box.center_y(), box.center_z(), box.length(),
                   box.width(),    box.height(),   box.heading()};
    fault.label(label);
    box.set_center_x(label.x);
    box.set_center_y(label.y);
    box.set_center_z(label.z);
    box.set_length(label.length);
    box.set_width(label.width);
    box.set_height(label.height);
    box.set_heading(label.heading);
  }

  // Places of lasers and of the vehicle are lengths as ranges are.
  static void BreakPoints(waymo::Frame& frame, const Fault& fault) {
    for (waymo::LaserCalibration& laser : *frame.mutable_context()->mutable_laser_calibrations()) {
      Break(*laser.mutable_extrinsic(), fault);
    }
    Break(*frame.mutable_pose(), fault);
    for (waymo::Laser& laser : *frame.mutable_lasers()) {
      for (waymo::RangeImage* image : {laser.mutable_return_1(), laser.mutable_return_2()}) {
        *image->mutable_range_image_compressed() = Changed(image->range_image_compressed(), 4, [&](float* pixel) {
          if (pixel[0] <= 0) return;
          pixel[0] *= static_cast<float>(fault.point_unit);
          pixel[1] *= static_cast<float>(fault.intensity_unit);
        });
        if (image->range_image_pose_compressed().empty()) continue;
        *image->mutable_range_image_pose_compressed() =
            Changed(image->range_image_pose_compressed(), 6, [&](float* pixel) {
              for (int k = 3; k < 6; ++k) pixel[k] *= static_cast<float>(fault.point_unit);
            });
      }
    }
  }

  static void Break(waymo::Transform& transform, const Fault& fault) {
    for (const int k : {3, 7, 11}) transform.set_transform(k, transform.transform(k) * fault.point_unit);
  }

  // An image with `change` done to each pixel.
  static std::string Changed(const std::string& packed, int channels, const std::function<void(float*)>& change) {
    waymo::MatrixFloat matrix;
    EXPECT_TRUE(matrix.ParseFromString(Inflated(packed)));
    for (int i = 0; i < matrix.data_size(); i += channels) change(matrix.mutable_data()->mutable_data() + i);
    return Deflated(matrix.SerializeAsString());
  }
};

// Ten key frames of nuScenes's layout.
struct NuscenesLayout {
  static constexpr char kSplit[] = "mini_train";

  static absl::Status Simulate(const std::string& root) {
    return WriteSimulatedNuscenes({.root = root, .train_frames = 10, .val_frames = 1}, nullptr);
  }

  static void Break(const std::string& root, const Fault& fault) {
    const std::string path = root + "/v1.0-mini/sample_annotation.json";
    const std::string text = *ReadFile(path);
    nlohmann::json table = nlohmann::json::parse(text);
    for (nlohmann::json& record : table) {
      nlohmann::json &place = record.at("translation"), &size = record.at("size"), &turn = record.at("rotation");
      // As a quaternion about z alone, near enough on streets that are almost level.
      const double w = turn.at(0), z = turn.at(3);
      Label label = {place.at(0), place.at(1), place.at(2), size.at(1), size.at(0), size.at(2), 2 * std::atan2(z, w)};
      fault.label(label);
      place = {label.x, label.y, label.z};
      size = {label.width, label.length, label.height};
      turn = {std::cos(label.heading / 2), 0.0, 0.0, std::sin(label.heading / 2)};
    }
    Replaced(path, table.dump());
    for (const char* folder : {"/samples/LIDAR_TOP", "/sweeps/LIDAR_TOP"}) BreakIntensity(root + folder, fault);
  }

 private:
  static void BreakIntensity(const std::string& folder, const Fault& fault) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      std::string bytes = *ReadFile(entry.path().string());
      for (size_t at = 3 * sizeof(float); at < bytes.size(); at += 5 * sizeof(float)) {
        float intensity;
        std::memcpy(&intensity, &bytes[at], sizeof(intensity));
        intensity *= static_cast<float>(fault.intensity_unit);
        std::memcpy(&bytes[at], &intensity, sizeof(intensity));
      }
      Replaced(entry.path().string(), bytes);
    }
  }
};

ProgramAnswer Check(const std::string& root, const std::string& flags = "") {
  return AnswerOf(absl::StrCat("kdctl data check --data ", root, " ", flags));
}

void Keep(Label&) {}
template <int kBy>
void Times(Label& label) {
  label.Multiply(kBy);
}
void QuarterTurn(Label& label) { label.heading += M_PI / 2; }
void ExchangedSides(Label& label) { std::swap(label.length, label.width); }

template <typename Layout>
void ExpectEachFaultIsNamed(const std::vector<Fault>& faults) {
  TemporaryFolder folder;
  const std::string good = folder / "good", bad = folder / "bad";
  ASSERT_THAT(Layout::Simulate(good), IsOk());
  const std::string split = absl::StrCat("--split ", Layout::kSplit);
  const ProgramAnswer fits = Check(good, split);
  EXPECT_EQ(fits.exit_code, 0) << fits.text;
  EXPECT_THAT(fits.text, HasSubstr("verdict: fits as declared"));
  for (const Fault& fault : faults) {
    SCOPED_TRACE(fault.name);
    fs::remove_all(bad);
    fs::copy(good, bad, fs::copy_options::recursive);
    Layout::Break(bad, fault);
    const ProgramAnswer answer = Check(bad, split);
    EXPECT_EQ(answer.exit_code, 1) << answer.text;
    EXPECT_THAT(answer.text, HasSubstr(absl::StrCat("\nverdict: does not fit: ", fault.verdict)));
    EXPECT_THAT(answer.text, HasSubstr(absl::StrCat("\ndo: ", fault.remedy, "\n")));
  }
}

constexpr char kDivideAll[] = "divide all lengths of points and labels by ";

TEST(DataCheckTest, EachFaultOfAKittiFolderIsNamed) {
  // y points down and is the bottom of a box.
  const auto centre = [](Label& label) { label.y -= label.height / 2; };
  const auto clockwise = [](Label& label) { label.heading = -label.heading - M_PI; };
  const std::string lengths = "divide height width length x y z of the labels by ";
  const std::string by_100 = lengths + "100", by_1000 = lengths + "1000", all_by_100 = absl::StrCat(kDivideAll, 100),
                    all_by_1000 = absl::StrCat(kDivideAll, 1000);
  ExpectEachFaultIsNamed<KittiLayout>({
      {"quarter turn", QuarterTurn, 1, 1, "heading off by 90 degrees (score",
       "add pi/2 to rotation_y, or subtract it (kdctl data view shows which)"},
      {"sides", ExchangedSides, 1, 1, "l and w swapped (score", "exchange width and length"},
      {"centre", centre, 1, 1, "z is the top (score", "add height/2 to y, which is the bottom of a box"},
      {"clockwise", clockwise, 1, 1, "heading clockwise (score", "write -rotation_y - pi for rotation_y"},
      {"labels in mm", Times<1000>, 1, 1, "boxes in millimetres (score", by_1000.c_str()},
      {"labels in cm", Times<100>, 1, 1, "boxes in centimetres (score", by_100.c_str()},
      {"points in mm", Keep, 1000, 1, "points in millimetres (score", "divide x y z of the points by 1000"},
      {"all in mm", Times<1000>, 1000, 1, "points and boxes in millimetres (score", all_by_1000.c_str()},
      {"all in cm", Times<100>, 100, 1, "points and boxes in centimetres (score", all_by_100.c_str()},
      {"intensity", Keep, 1, 255, "intensity 0..255 instead of 0..1", "divide the intensity by 255"},
  });
}

TEST(DataCheckTest, EachFaultOfAWaymoFolderIsNamed) {
  const auto bottom = [](Label& label) { label.z -= label.height / 2; };
  const auto clockwise = [](Label& label) { label.heading = -label.heading; };
  const std::string all_by_100 = absl::StrCat(kDivideAll, 100), all_by_1000 = absl::StrCat(kDivideAll, 1000);
  ExpectEachFaultIsNamed<WaymoLayout>({
      {"quarter turn", QuarterTurn, 1, 1, "heading off by 90 degrees (score",
       "add pi/2 to heading, or subtract it (kdctl data view shows which)"},
      {"sides", ExchangedSides, 1, 1, "l and w swapped (score", "exchange length and width"},
      {"bottom", bottom, 1, 1, "z is the bottom (score", "add height/2 to center_z"},
      {"clockwise", clockwise, 1, 1, "heading clockwise (score", "negate heading"},
      {"labels in mm", Times<1000>, 1, 1, "boxes in millimetres (score",
       "divide center and size of the labels by 1000"},
      {"labels in cm", Times<100>, 1, 1, "boxes in centimetres (score", "divide center and size of the labels by 100"},
      {"points in cm", Keep, 100, 1, "points in centimetres (score", "divide x y z of the points by 100"},
      {"all in mm", Times<1000>, 1000, 1, "points and boxes in millimetres (score", all_by_1000.c_str()},
      {"all in cm", Times<100>, 100, 1, "points and boxes in centimetres (score", all_by_100.c_str()},
      {"intensity", Keep, 1, 255, "intensity 0..255 instead of 0..1", "divide the intensity by 255"},
  });
}

TEST(DataCheckTest, EachFaultOfANuscenesFolderIsNamed) {
  const auto bottom = [](Label& label) { label.z -= label.height / 2; };
  ExpectEachFaultIsNamed<NuscenesLayout>({
      {"quarter turn", QuarterTurn, 1, 1, "heading off by 90 degrees (score",
       "turn rotation by pi/2 about z, one way or the other (kdctl data view shows which)"},
      {"sides", ExchangedSides, 1, 1, "l and w swapped (score",
       "exchange width and length in size, which is width length height"},
      {"bottom", bottom, 1, 1, "z is the bottom (score", "add half the height to the z of translation"},
      {"intensity", Keep, 1, 1.0 / 255, "intensity 0..1 instead of 0..255", "multiply the intensity by 255"},
  });
}

TEST(DataCheckTest, WithFewBoxesItSaysThatItCannotTell) {
  TemporaryFolder folder;
  ASSERT_THAT(KittiLayout::Simulate(folder.path()), IsOk());
  const ProgramAnswer answer = Check(folder.path(), "--frames 1 --classes Cyclist");
  EXPECT_EQ(answer.exit_code, 0) << answer.text;
  EXPECT_THAT(answer.text, ::testing::ContainsRegex("\nverdict: cannot tell: [0-7] boxes, need 8"));
  EXPECT_THAT(answer.text, HasSubstr("\ndo: read more frames (--frames 0"));
}

TEST(DataCheckTest, PercentilesOfWhatIsMeasuredAreInTheTableAndInJson) {
  TemporaryFolder folder;
  ASSERT_THAT(KittiLayout::Simulate(folder.path()), IsOk());
  EXPECT_THAT(Check(folder.path()).text, HasSubstr("\nz of the ground"));
  const nlohmann::json json = nlohmann::json::parse(Check(folder.path(), "-o json").text);
  // The sensor is 1.8 m above a street that slopes gently.
  const auto& ground = json.at("ground_z").at("percentiles");
  EXPECT_NEAR(ground.at("50").get<double>(), -1.8, 0.3);
  const auto& intensity = json.at("columns").at(3);
  EXPECT_EQ(intensity.at("name"), "intensity");
  EXPECT_GE(intensity.at("percentiles").at("1").get<double>(), 0);
  EXPECT_LE(intensity.at("percentiles").at("99").get<double>(), 1);
  const auto& cars = json.at("classes").at(0);
  EXPECT_GT(cars.at("length").at("percentiles").at("50").get<double>(),
            cars.at("width").at("percentiles").at("95").get<double>());
  const auto& points = json.at("points").at("per_frame").at("percentiles");
  EXPECT_LE(points.at("5").get<double>(), points.at("95").get<double>());
  EXPECT_GT(points.at("5").get<double>(), 100);
}

}  // namespace
}  // namespace kd
