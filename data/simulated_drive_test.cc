// Simulated sequences: every number that a reader gives is compared with the scene that was written.
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/camera_picture.h"
#include "data/drive_scene.h"
#include "data/footprint.h"
#include "data/laser_scan.h"
#include "data/nuscenes_dataset.h"
#include "data/simulated_nuscenes.h"
#include "data/simulated_waymo.h"
#include "data/tfrecord.h"
#include "data/waymo.pb.h"
#include "data/waymo_dataset.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using ::testing::HasSubstr;

RigidTransform AnyTransform(CounterRng& rng) {
  const double roll = rng.Uniform(-3, 3), pitch = rng.Uniform(-1.5, 1.5), yaw = rng.Uniform(-3, 3);
  RigidTransform transform{.rotation = RotationOfAngles(roll, pitch, yaw)};
  for (double& v : transform.translation) v = rng.Uniform(-9, 9);
  return transform;
}

TEST(RigidTransformTest, RotationsComeBackFromQuaternionsAndAngles) {
  CounterRng rng(1);
  for (int i = 0; i < 1000; ++i) {
    const std::array<double, 9> rotation = AnyTransform(rng).rotation;
    const std::array<double, 9> from_quaternion = RotationOfQuaternion(QuaternionOfRotation(rotation));
    const Angles angles = AnglesOfRotation(rotation);
    const std::array<double, 9> from_angles = RotationOfAngles(angles.roll, angles.pitch, angles.yaw);
    for (int k = 0; k < 9; ++k) {
      ASSERT_NEAR(from_quaternion[k], rotation[k], 1e-12) << i;
      ASSERT_NEAR(from_angles[k], rotation[k], 1e-12) << i;
    }
  }
  // A quarter to the left turns x into y; half a turn about y turns z down.
  EXPECT_NEAR(QuaternionOfRotation({0, -1, 0, 1, 0, 0, 0, 0, 1})[3], std::sqrt(0.5), 1e-12);
  EXPECT_NEAR(QuaternionOfRotation({-1, 0, 0, 0, 1, 0, 0, 0, -1})[2], 1, 1e-12);
}

TEST(DriveSceneTest, NothingDrivesIntoAnything) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    CounterRng rng(seed);
    const DriveScene scene = DrawDriveScene(rng, 12);
    ASSERT_GT(scene.objects.size(), 50u);
    for (double time = 0; time <= 12; time += 0.25) {
      const RigidTransform vehicle = scene.VehicleAt(time);
      const Vec3 middle = vehicle.Apply({1.4, 0, 0});
      std::vector<Footprint> all = {{middle[0], middle[1], 4.8, 2, vehicle.Yaw()}};
      for (const DriveObject& o : scene.objects) {
        all.push_back({o.XAt(time), o.YAt(time), o.size.l, o.size.w, o.yaw});
      }
      for (size_t i = 0; i < all.size(); ++i) {
        for (size_t j = 0; j < i; ++j) {
          ASSERT_FALSE(Overlap(all[i], all[j])) << seed << " " << time << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(DriveSceneTest, EveryKindOccursAndAllOfItLiesInItsBox) {
  std::map<DriveKind, int> kinds;
  int moving = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    CounterRng rng(seed);
    const DriveScene scene = DrawDriveScene(rng, 20);
    for (const DriveObject& object : scene.objects) {
      ++kinds[object.kind];
      moving += object.speed > 0;
      for (const ObjectPart& part : object.parts) {
        const std::string place =
            absl::StrCat("kind ", static_cast<int>(object.kind), " part ", &part - object.parts.data());
        EXPECT_LE(std::abs(part.u) + part.dx / 2, object.size.l / 2 - kBoxMargin + 1e-9) << place;
        EXPECT_LE(std::abs(part.v) + part.dy / 2, object.size.w / 2 - kBoxMargin + 1e-9) << place;
        EXPECT_LE(part.high, object.size.h - kBoxMargin + 1e-9) << place;
        EXPECT_GE(part.low, 0) << place;
        EXPECT_LT(part.low, part.high) << place;
      }
    }
  }
  EXPECT_EQ(kinds.size(), static_cast<size_t>(kDriveKinds));
  for (const auto& [kind, count] : kinds) EXPECT_GE(count, 15) << static_cast<int>(kind);
  EXPECT_GT(moving, 200);
}

// Metres from `origin` to what a ray through `point` meets first.
double FirstHit(const std::vector<RayTarget>& targets, const Vec3& origin, const Vec3& point) {
  const Vec3 way = {point[0] - origin[0], point[1] - origin[1], point[2] - origin[2]};
  const double length = std::hypot(way[0], way[1], way[2]);
  const Vec3 direction = {way[0] / length, way[1] / length, way[2] / length};
  double nearest = direction[2] < 0 ? -origin[2] / direction[2] : 1e9;
  for (const RayTarget& target : targets) {
    const double range = target.Hit(origin, direction);
    if (range > 0) nearest = std::min(nearest, range);
  }
  return nearest;
}

std::vector<RayTarget> TargetsOf(const std::vector<Primitive>& solids) { return {solids.begin(), solids.end()}; }

double Distance(const Vec3& a, const Vec3& b) { return std::hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]); }

TEST(LaserScanTest, RaysMeetWhatTheyMeetWithoutWindows) {
  CounterRng rng(5);
  const DriveScene scene = DrawDriveScene(rng, 2);
  LaserPattern pattern{.columns = 90, .first_azimuth = 1};
  for (int i = 0; i < 20; ++i) pattern.inclinations.push_back(-0.5 + 0.035 * i);
  const RigidTransform pose{.rotation = RotationOfAngles(0.02, -0.03, 2), .translation = {3, -1, 1.9}};
  const std::vector<Primitive> solids = scene.SolidsAt(1, 3, -1, 70);
  const LaserView view = CastRays(solids, pattern, {pose}, scene.objects.size());
  const std::vector<RayTarget> targets = TargetsOf(solids);
  int on_solids = 0;
  std::vector<std::set<size_t>> on_object(scene.objects.size());
  for (int row = 0; row < pattern.rows(); ++row) {
    for (int column = 0; column < pattern.columns; ++column) {
      const size_t at = static_cast<size_t>(row) * pattern.columns + column;
      const Vec3 direction = pose.Rotate(pattern.DirectionOf(row, column));
      std::vector<double> ranges = {1e9, 1e9};
      if (direction[2] < 0) ranges.push_back(-1.9 / direction[2]);
      for (size_t i = 0; i < targets.size(); ++i) {
        const double range = targets[i].Hit(pose.translation, direction);
        if (range < 0 || range > pattern.max_range) continue;
        ranges.push_back(range);
        if (solids[i].object >= 0) on_object[solids[i].object].insert(at);
      }
      for (double& range : ranges) range = range > pattern.max_range ? 1e9 : range;
      std::sort(ranges.begin(), ranges.end());
      ASSERT_NEAR(view.rays[at].first, ranges[0], 1e-9);
      ASSERT_NEAR(view.rays[at].second, ranges[1], 1e-9);
      on_solids += view.rays[at].first_solid >= 0;
    }
  }
  EXPECT_GT(on_solids, 300);
  for (size_t i = 0; i < on_object.size(); ++i) {
    EXPECT_EQ(view.rays_on_object[i], static_cast<int>(on_object[i].size()));
  }
}

TEST(CameraPictureTest, ABoxAheadIsDrawnWhereItProjectsTo) {
  DriveScene scene;
  Primitive box{.box = {.x = 10, .y = 2, .z = 1, .dx = 2, .dy = 2, .dz = 2, .yaw = 0}};
  box.color = {250, 0, 0};
  scene.fixed.push_back(box);
  const PictureCamera camera{.width = 200,
                             .height = 100,
                             .intrinsic = {100, 0, 100, 0, 100, 50, 0, 0, 1},
                             .camera_to_street = {.rotation = {0, 0, 1, -1, 0, 0, 0, -1, 0}, .translation = {0, 0, 1}}};
  const std::vector<uint8_t> rgb = DrawPicture(scene, 0, camera);
  ASSERT_EQ(rgb.size(), 200u * 100 * 3);
  const auto red = [&](int u, int v) {
    const uint8_t* p = &rgb[3 * (static_cast<size_t>(v) * 200 + u)];
    return p[0] > p[1] + 50 && p[0] > p[2] + 50;
  };
  // The face at x = 9, y 1..3, z 0..2, is 11.1 pixels a metre: columns 66.7 to 88.9, rows 38.9 to 61.1.
  EXPECT_TRUE(red(68, 40));
  EXPECT_TRUE(red(88, 40));
  EXPECT_TRUE(red(68, 60));
  EXPECT_TRUE(red(88, 60));
  EXPECT_FALSE(red(66, 50));
  EXPECT_FALSE(red(75, 38));
  EXPECT_FALSE(red(75, 62));
  // To its right the inner side is seen, as far as x = 11: column 90.9.
  EXPECT_TRUE(red(90, 50));
  EXPECT_FALSE(red(92, 50));
  const std::string jpeg = EncodeJpeg(rgb, 200, 100);
  EXPECT_EQ(jpeg.substr(0, 2), "\xff\xd8");
  EXPECT_LT(jpeg.size(), rgb.size() / 4);
}

// nuScenes.

const RigidTransform kLidarToVehicle{.rotation = {0, 1, 0, -1, 0, 0, 0, 0, 1}, .translation = {0.94, 0, 1.84}};

const std::map<DriveKind, std::string> kNuscenesNames = {{DriveKind::kCar, "car"},
                                                         {DriveKind::kTruck, "truck"},
                                                         {DriveKind::kBus, "bus"},
                                                         {DriveKind::kTrailer, "trailer"},
                                                         {DriveKind::kConstructionVehicle, "construction_vehicle"},
                                                         {DriveKind::kPedestrian, "pedestrian"},
                                                         {DriveKind::kMotorcyclist, "motorcycle"},
                                                         {DriveKind::kCyclist, "bicycle"},
                                                         {DriveKind::kBicycle, "bicycle"},
                                                         {DriveKind::kTrafficCone, "traffic_cone"},
                                                         {DriveKind::kBarrier, "barrier"}};

class SimulatedNuscenesTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    options_ = new SimulatorOptions{.root = *folder_ / "sim", .train_frames = 17, .val_frames = 3, .seed = 4};
    status_ = new absl::Status(WriteSimulatedNuscenes(*options_, nullptr));
    scenes_ = new std::vector<SimulatedNuscenesScene>(DrawNuscenesScenes(*options_));
  }
  static void TearDownTestSuite() {
    delete scenes_;
    delete status_;
    delete options_;
    delete folder_;
  }

  void SetUp() override {
    ASSERT_THAT(*status_, IsOk());
    std::vector<std::string> names;
    for (const NuscenesClass& c : kNuscenesClasses) names.emplace_back(c.name);
    auto opened = NuscenesDataset::Open(options_->root, "v1.0-mini", names);
    ASSERT_THAT(opened, IsOk());
    dataset_ = *std::move(opened);
  }

  // The scene and the number of a sample's key frame.
  std::pair<const SimulatedNuscenesScene*, int> PlaceOf(const std::string& token) const {
    const NuscenesTables& tables = dataset_->tables();
    const int32_t index = *tables.FindSample(token);
    int32_t at = index, number = 0;
    for (; tables.samples()[at].previous >= 0; at = tables.samples()[at].previous) ++number;
    return {&(*scenes_)[tables.samples()[index].scene], number};
  }

  std::vector<std::string> AllSamples() const {
    std::vector<std::string> all = *dataset_->Split("mini_train");
    const std::vector<std::string> val = *dataset_->Split("mini_val");
    all.insert(all.end(), val.begin(), val.end());
    return all;
  }

  static TemporaryFolder* folder_;
  static SimulatorOptions* options_;
  static absl::Status* status_;
  static std::vector<SimulatedNuscenesScene>* scenes_;
  std::unique_ptr<NuscenesDataset> dataset_;
};
TemporaryFolder* SimulatedNuscenesTest::folder_ = nullptr;
SimulatorOptions* SimulatedNuscenesTest::options_ = nullptr;
absl::Status* SimulatedNuscenesTest::status_ = nullptr;
std::vector<SimulatedNuscenesScene>* SimulatedNuscenesTest::scenes_ = nullptr;

TEST_F(SimulatedNuscenesTest, SplitsHaveTheirKeyFramesTwoASecond) {
  EXPECT_EQ(dataset_->Split("mini_train")->size(), 17u);
  EXPECT_EQ(dataset_->Split("mini_val")->size(), 3u);
  ASSERT_EQ(scenes_->size(), 10u);
  EXPECT_EQ(scenes_->front().name, "scene-0061");
  EXPECT_EQ(scenes_->front().key_frames, 3);
  for (const NuscenesSample& sample : dataset_->tables().samples()) {
    if (sample.previous < 0) continue;
    EXPECT_EQ(sample.timestamp_us - dataset_->tables().samples()[sample.previous].timestamp_us, 500'000);
  }
}

TEST_F(SimulatedNuscenesTest, BoxesVelocitiesAndAttributesAreThoseOfTheScene) {
  int boxes = 0, moving = 0;
  for (const std::string& sample : AllSamples()) {
    const auto [scene, number] = PlaceOf(sample);
    const double second = SimulatedKeyFrameSecond(number);
    const RigidTransform street_to_lidar = (scene->drive.VehicleAt(second) * kLidarToVehicle).Inverse();
    const NuscenesFrame frame = *dataset_->ReadKeyFrame(sample);
    const auto annotations = dataset_->tables().AnnotationsOf(*dataset_->tables().FindSample(sample));
    ASSERT_EQ(annotations.size(), frame.frame.boxes.size());
    std::set<const DriveObject*> used;
    for (size_t i = 0; i < frame.frame.boxes.size(); ++i) {
      const LabeledBox& labeled = frame.frame.boxes[i];
      const Vec3 centre = {labeled.box.x, labeled.box.y, labeled.box.z};
      const auto object =
          std::find_if(scene->drive.objects.begin(), scene->drive.objects.end(), [&](const DriveObject& o) {
            return Distance((street_to_lidar * o.BoxAt(second)).translation, centre) < 1e-3;
          });
      ASSERT_NE(object, scene->drive.objects.end());
      EXPECT_TRUE(used.insert(&*object).second) << "labelled twice";
      EXPECT_EQ(dataset_->class_names()[labeled.label], kNuscenesNames.at(object->kind));
      EXPECT_NEAR(labeled.box.dx, object->size.l, 1e-5);
      EXPECT_NEAR(labeled.box.dy, object->size.w, 1e-5);
      EXPECT_NEAR(labeled.box.dz, object->size.h, 1e-5);
      const Vec3 ahead = street_to_lidar.Rotate({std::cos(object->yaw), std::sin(object->yaw), 0});
      EXPECT_NEAR(std::remainder(labeled.box.yaw - std::atan2(ahead[1], ahead[0]), 2 * M_PI), 0, 1e-5);
      if (!std::isnan(frame.velocities[i][0])) {
        EXPECT_NEAR(frame.velocities[i][0], object->speed * ahead[0], 1e-4);
        EXPECT_NEAR(frame.velocities[i][1], object->speed * ahead[1], 1e-4);
        moving += object->speed > 0;
      }
      const int attribute = dataset_->tables().annotations()[annotations[i]].attribute;
      const std::string name = attribute < 0 ? "" : kNuscenesAttributes[attribute];
      if (object->kind == DriveKind::kCar && !object->queues) {
        EXPECT_EQ(name, object->speed > 0 ? "vehicle.moving" : "vehicle.parked");
      } else if (object->kind == DriveKind::kPedestrian) {
        EXPECT_EQ(name, object->speed > 0 ? "pedestrian.moving" : "pedestrian.standing");
      } else if (object->kind == DriveKind::kBicycle) {
        EXPECT_EQ(name, "cycle.without_rider");
      } else if (object->kind == DriveKind::kCyclist || object->kind == DriveKind::kMotorcyclist) {
        EXPECT_EQ(name, "cycle.with_rider");
      } else if (object->kind == DriveKind::kBarrier || object->kind == DriveKind::kTrafficCone) {
        EXPECT_EQ(name, "");
      }
      ++boxes;
    }
  }
  EXPECT_GT(boxes, 300);
  EXPECT_GT(moving, 50);
}

TEST_F(SimulatedNuscenesTest, PointsOfEverySweepLieOnTheSceneOfTheirTime) {
  int checked = 0, off = 0;
  for (const std::string& sample : AllSamples()) {
    const auto [scene, number] = PlaceOf(sample);
    const double second = SimulatedKeyFrameSecond(number);
    const RigidTransform key_to_street = scene->drive.VehicleAt(second) * kLidarToVehicle;
    const Frame frame = *dataset_->Read(sample);
    std::map<float, std::vector<Vec3>> sweeps;
    for (size_t i = 0; i < frame.num_points(); i += 41) {
      const float* p = &frame.points[i * 5];
      EXPECT_GE(p[3], 0);
      EXPECT_LE(p[3], 255);
      sweeps[p[4]].push_back(key_to_street.Apply({p[0], p[1], p[2]}));
    }
    ASSERT_EQ(sweeps.size(), 10u);
    for (const auto& [age, points] : sweeps) {
      EXPECT_NEAR(age * 20, std::round(age * 20), 1e-5);
      const double then = second - age;
      const Vec3 eye = (scene->drive.VehicleAt(then) * kLidarToVehicle).translation;
      const std::vector<RayTarget> targets = TargetsOf(scene->drive.SolidsAt(then, eye[0], eye[1], 80));
      for (const Vec3& point : points) {
        ++checked;
        // A ray that grazes an edge may miss what another one, off by a float's last digit, meets.
        off += std::abs(FirstHit(targets, eye, point) - Distance(eye, point)) > 0.12;
      }
    }
  }
  EXPECT_GT(checked, 20'000);
  EXPECT_LT(off, checked / 1000);
}

TEST_F(SimulatedNuscenesTest, PointsOfABoxAreThoseOfItsKeyFrameInside) {
  for (const std::string& sample : AllSamples()) {
    const NuscenesTables& tables = dataset_->tables();
    const int32_t index = *tables.FindSample(sample);
    const NuscenesRecording& key = **tables.KeyFrame(index, kNuscenesLidar);
    const std::vector<float> rows = *ReadNuscenesPoints(absl::StrCat(tables.root(), "/", key.filename));
    std::vector<Vec3> points;
    for (size_t i = 0; i < rows.size(); i += 5) {
      points.push_back(tables.SensorToGlobal(key).Apply({rows[i], rows[i + 1], rows[i + 2]}));
      ASSERT_EQ(rows[i + 4], std::floor(rows[i + 4]));
      ASSERT_GE(rows[i + 4], 0);
      ASSERT_LT(rows[i + 4], 32);
    }
    for (const int32_t i : tables.AnnotationsOf(index)) {
      const NuscenesAnnotation& a = tables.annotations()[i];
      const auto inside = [&](double slack) {
        return std::count_if(points.begin(), points.end(), [&](const Vec3& point) {
          const Vec3 own = a.box_to_global.Inverse().Apply(point);
          return std::abs(own[0]) <= a.size[1] / 2 + slack && std::abs(own[1]) <= a.size[0] / 2 + slack &&
                 std::abs(own[2]) <= a.size[2] / 2 + slack;
        });
      };
      ASSERT_GE(a.num_lidar_points, 1);
      ASSERT_GE(a.num_lidar_points, inside(-1e-6));
      ASSERT_LE(a.num_lidar_points, inside(1e-6));
    }
  }
}

// The share of a fine lattice of rays through the box that meet the object before anything else, of those that meet it.
double VisibleShare(const DriveScene& drive, double second, size_t object, const Vec3& eye) {
  // Nothing behind the object can hide it.
  const std::vector<Primitive> solids = drive.SolidsAt(second, eye[0], eye[1], 20);
  const RigidTransform box = drive.objects[object].BoxAt(second);
  const double distance = std::hypot(box.translation[0] - eye[0], box.translation[1] - eye[1]);
  const double middle = std::atan2(box.translation[1] - eye[1], box.translation[0] - eye[0]);
  const ObjectSize& size = drive.objects[object].size;
  const double radius = std::hypot(size.l, size.w) / 2, half = std::asin(std::min(radius / distance, 1.0));
  const double low = std::atan2(-eye[2], distance - radius), high = std::atan2(size.h - eye[2], distance - radius);
  const std::vector<RayTarget> targets = TargetsOf(solids);
  int alone = 0, first = 0;
  for (int i = 0; i < 40; ++i) {
    for (int j = 0; j < 40; ++j) {
      const double azimuth = middle + half * (i - 19.5) / 20, inclination = low + (high - low) * (j + 0.5) / 40;
      const Vec3 direction = {std::cos(inclination) * std::cos(azimuth), std::cos(inclination) * std::sin(azimuth),
                              std::sin(inclination)};
      double on_object = 1e9, on_others = direction[2] < 0 ? -eye[2] / direction[2] : 1e9;
      for (size_t k = 0; k < targets.size(); ++k) {
        const double range = targets[k].Hit(eye, direction);
        if (range < 0) continue;
        double& nearest = solids[k].object == static_cast<int>(object) ? on_object : on_others;
        nearest = std::min(nearest, range);
      }
      alone += on_object < 1e9;
      first += on_object < 1e9 && on_object < on_others;
    }
  }
  return static_cast<double>(first) / alone;
}

TEST_F(SimulatedNuscenesTest, VisibilityIsTheShareOfTheObjectThatNothingHides) {
  const nlohmann::json rows = nlohmann::json::parse(*ReadFile(options_->root + "/v1.0-mini/sample_annotation.json"));
  const std::map<std::string, std::pair<double, double>> levels = {
      {"1", {0, 0.4}}, {"2", {0.4, 0.6}}, {"3", {0.6, 0.8}}, {"4", {0.8, 1}}};
  std::map<std::string, int> counts;
  for (const nlohmann::json& row : rows) {
    const auto [scene, number] = PlaceOf(row["sample_token"]);
    const double second = SimulatedKeyFrameSecond(number);
    const Vec3 eye = (scene->drive.VehicleAt(second) * kLidarToVehicle).translation;
    const Vec3 centre = {row["translation"][0], row["translation"][1], row["translation"][2]};
    for (size_t i = 0; i < scene->drive.objects.size(); ++i) {
      const Vec3 at = scene->drive.objects[i].BoxAt(second).translation;
      if (Distance((scene->drive.street_to_map).Apply(at), centre) > 1e-3) continue;
      // Farther away the beams are too few to tell.
      const double distance = Distance(at, eye);
      if (distance > 15 || distance < 5 || scene->drive.objects[i].size.h < 1.4) continue;
      const std::string level = row["visibility_token"];
      const double share = VisibleShare(scene->drive, second, i, eye);
      EXPECT_GE(share, levels.at(level).first - 0.2);
      EXPECT_LE(share, levels.at(level).second + 0.2);
      ++counts[level];
    }
  }
  EXPECT_GT(counts["1"], 2);
  EXPECT_GT(counts["4"], 20);
}

TEST_F(SimulatedNuscenesTest, CamerasHavePicturesAndTheVehiclesPoseOfTheirTime) {
  const std::string sample = dataset_->Split("mini_train")->front();
  const auto [scene, number] = PlaceOf(sample);
  const auto cameras = dataset_->Cameras(sample);
  ASSERT_THAT(cameras, IsOk());
  ASSERT_EQ(cameras->size(), 6u);
  const int64_t key = dataset_->ReadKeyFrame(sample)->timestamp_us;
  for (const NuscenesCamera& camera : *cameras) {
    EXPECT_EQ(ReadFile(camera.path)->substr(0, 2), "\xff\xd8");
    const double shot = SimulatedKeyFrameSecond(number) + 1e-6 * static_cast<double>(camera.timestamp_us - key);
    const RigidTransform pose = scene->drive.street_to_map * scene->drive.VehicleAt(shot);
    EXPECT_LT(Distance(pose.translation, camera.ego_to_global.translation), 1e-4) << camera.channel;
    EXPECT_NEAR(pose.Yaw(), camera.ego_to_global.Yaw(), 1e-6);
    // Pictures are in order around the vehicle: each looks where its name says.
    const Vec3 gaze = camera.camera_to_ego.Rotate({0, 0, 1});
    EXPECT_EQ(gaze[0] > 0, camera.channel.find("FRONT") != std::string::npos) << camera.channel;
    const int side = camera.channel.find("LEFT") != std::string::npos    ? 1
                     : camera.channel.find("RIGHT") != std::string::npos ? -1
                                                                         : 0;
    EXPECT_EQ((gaze[1] > 0.5) - (gaze[1] < -0.5), side) << camera.channel;
  }
}

TEST_F(SimulatedNuscenesTest, AFinishedFolderIsLeftAsItIsAndOthersAreRefused) {
  const std::string table = options_->root + "/v1.0-mini/sample_annotation.json";
  const auto before = std::filesystem::last_write_time(table);
  EXPECT_THAT(WriteSimulatedNuscenes(*options_, nullptr), IsOk());
  EXPECT_EQ(std::filesystem::last_write_time(table), before);
  SimulatorOptions other = *options_;
  other.seed = 5;
  EXPECT_THAT(WriteSimulatedNuscenes(other, nullptr), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(WriteSimulatedWaymo(*options_, nullptr),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("other simulated frames")));
  EXPECT_THAT(WriteSimulatedKitti(*options_, nullptr), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_F(SimulatedNuscenesTest, AStreetHasAnEnd) {
  EXPECT_THAT(WriteSimulatedNuscenes({.root = *folder_ / "long", .train_frames = 3201, .val_frames = 1}, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 3200")));
  EXPECT_THAT(WriteSimulatedNuscenes({.root = *folder_ / "long", .train_frames = 1, .val_frames = 801}, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 800")));
  EXPECT_FALSE(std::filesystem::exists(*folder_ / "long"));
}

// Waymo.

class SimulatedWaymoTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    options_ = new SimulatorOptions{.root = *folder_ / "sim", .train_frames = 11, .val_frames = 2, .seed = 4};
    status_ = new absl::Status(WriteSimulatedWaymo(*options_, nullptr));
  }
  static void TearDownTestSuite() {
    delete status_;
    delete options_;
    delete folder_;
  }

  void SetUp() override {
    ASSERT_THAT(*status_, IsOk());
    v1::Data data;
    data.set_format("waymo");
    data.set_root(options_->root);
    for (const char* name : {"Vehicle", "Pedestrian", "Cyclist"}) data.add_class_names(name);
    auto opened = OpenWaymoDataset(data);
    ASSERT_THAT(opened, IsOk());
    dataset_ = *std::move(opened);
  }

  // Calls check(segment, number, sample) for some frames of both splits.
  template <typename Check>
  void ForSomeFrames(const Check& check) const {
    for (uint32_t i = 0; i < NumWaymoSegments(*options_); ++i) {
      const SimulatedWaymoSegment segment = DrawWaymoSegment(*options_, i);
      const int number = segment.frames - 1;
      check(segment, number, absl::StrFormat("%s/%03d", segment.context, number));
    }
  }

  static TemporaryFolder* folder_;
  static SimulatorOptions* options_;
  static absl::Status* status_;
  std::unique_ptr<Dataset> dataset_;
};
TemporaryFolder* SimulatedWaymoTest::folder_ = nullptr;
SimulatorOptions* SimulatedWaymoTest::options_ = nullptr;
absl::Status* SimulatedWaymoTest::status_ = nullptr;

TEST_F(SimulatedWaymoTest, SplitsAndPosesAreThoseOfTheScene) {
  EXPECT_EQ(dataset_->Split("train")->size(), 11u);
  EXPECT_EQ(dataset_->Split("val")->size(), 2u);
  ForSomeFrames([&](const SimulatedWaymoSegment& segment, int number, const std::string& sample) {
    const auto frame = ReadWaymoFrame(options_->root, sample);
    ASSERT_THAT(frame, IsOk());
    EXPECT_EQ(frame->context, segment.context);
    const RigidTransform pose = segment.drive.street_to_map * segment.drive.VehicleAt(0.1 * (number + 1));
    for (int row = 0; row < 3; ++row) {
      for (int column = 0; column < 3; ++column) {
        EXPECT_NEAR(frame->pose[4 * row + column], pose.rotation[3 * row + column], 1e-12);
      }
      EXPECT_NEAR(frame->pose[4 * row + 3], pose.translation[row], 1e-9);
    }
    EXPECT_EQ(frame->cameras.size(), 5u);
    ASSERT_EQ(frame->images.size(), 5u);
    for (const WaymoImage& image : frame->images) EXPECT_EQ(image.jpeg.substr(0, 2), "\xff\xd8");
  });
}

TEST_F(SimulatedWaymoTest, BoxesVelocitiesAndPointsAreThoseOfTheScene) {
  int boxes = 0, moving = 0;
  std::set<int> labels;
  ForSomeFrames([&](const SimulatedWaymoSegment& segment, int number, const std::string& sample) {
    const double second = SimulatedWaymoSecond(number);
    const RigidTransform street_to_vehicle = segment.drive.VehicleAt(second).Inverse();
    const auto frame = dataset_->Read(sample);
    ASSERT_THAT(frame, IsOk());
    for (const LabeledBox& labeled : frame->boxes) {
      const Vec3 centre = {labeled.box.x, labeled.box.y, labeled.box.z};
      const auto object =
          std::find_if(segment.drive.objects.begin(), segment.drive.objects.end(), [&](const DriveObject& o) {
            return Distance((street_to_vehicle * o.BoxAt(second)).translation, centre) < 1e-3;
          });
      ASSERT_NE(object, segment.drive.objects.end());
      const int want = object->kind == DriveKind::kPedestrian ? 1 : object->kind == DriveKind::kCyclist ? 2 : 0;
      EXPECT_EQ(labeled.label, want);
      EXPECT_NEAR(labeled.box.dx, object->size.l, 1e-5);
      EXPECT_NEAR(labeled.box.dy, object->size.w, 1e-5);
      EXPECT_NEAR(labeled.box.dz, object->size.h, 1e-5);
      const Vec3 ahead = street_to_vehicle.Rotate({std::cos(object->yaw), std::sin(object->yaw), 0});
      EXPECT_NEAR(std::remainder(labeled.box.yaw - std::atan2(ahead[1], ahead[0]), 2 * M_PI), 0, 1e-5);
      // What the reader says of speeds leaves out that the vehicle leans.
      EXPECT_NEAR(labeled.vx, object->speed * ahead[0], 1e-4);
      EXPECT_NEAR(labeled.vy, object->speed * ahead[1], 1e-4);
      int inside[2] = {};
      for (size_t i = 0; i < frame->num_points(); ++i) {
        const float* p = &frame->points[5 * i];
        const double c = std::cos(labeled.box.yaw), s = std::sin(labeled.box.yaw);
        const double x = p[0] - labeled.box.x, y = p[1] - labeled.box.y, z = p[2] - labeled.box.z;
        for (const int k : {0, 1}) {
          const double slack = k == 0 ? -1e-3 : 1e-3;
          inside[k] += std::abs(c * x + s * y) <= labeled.box.dx / 2 + slack &&
                       std::abs(-s * x + c * y) <= labeled.box.dy / 2 + slack &&
                       std::abs(z) <= labeled.box.dz / 2 + slack;
        }
      }
      EXPECT_GE(labeled.num_points, inside[0]);
      EXPECT_LE(labeled.num_points, inside[1]);
      EXPECT_EQ(labeled.difficulty, labeled.num_points <= 5 ? 2 : 1);
      ++boxes;
      moving += object->speed > 0;
      labels.insert(labeled.label);
    }
  });
  EXPECT_GT(boxes, 60);
  EXPECT_GT(moving, 20);
  EXPECT_EQ(labels.size(), 3u);
}

TEST_F(SimulatedWaymoTest, FirstReturnsLieOnTheSceneAndSecondOnesBehindThem) {
  int checked = 0, off = 0, second_returns = 0, near = 0;
  ForSomeFrames([&](const SimulatedWaymoSegment& segment, int number, const std::string& sample) {
    const double second = SimulatedWaymoSecond(number);
    const RigidTransform vehicle = segment.drive.VehicleAt(second);
    const std::vector<RayTarget> targets =
        TargetsOf(segment.drive.SolidsAt(second, vehicle.translation[0], vehicle.translation[1], 90));
    const auto frame = ReadWaymoFrame(options_->root, sample);
    ASSERT_THAT(frame, IsOk());
    for (const WaymoCloud& cloud : frame->clouds) {
      const WaymoLaser& laser = frame->lasers[cloud.laser - 1];
      ASSERT_EQ(laser.laser, cloud.laser);
      const Vec3 mount = {laser.extrinsic[3], laser.extrinsic[7], laser.extrinsic[11]};
      for (size_t i = 0; i < cloud.points.size(); i += 97) {
        const WaymoPoint& point = cloud.points[i];
        // TOP looks backwards at first, then turns clockwise once in 0.1 s around the frame's pose.
        const double azimuth = std::atan2(point.position[1] - mount[1], point.position[0] - mount[0]);
        const double then = second - (cloud.laser == kWaymoTopLaser ? azimuth / (2 * M_PI) * 0.1 : 0);
        const Vec3 eye = segment.drive.VehicleAt(then).Apply(mount);
        const Vec3 at = vehicle.Apply(point.position);
        const double beyond = point.range - FirstHit(targets, eye, at);
        if (cloud.ret == 2) {
          EXPECT_GT(beyond, 0.3);
          ++second_returns;
          continue;
        }
        ++checked;
        near += cloud.laser != kWaymoTopLaser;
        off += std::abs(beyond) > 0.2;
      }
    }
  });
  EXPECT_GT(checked, 1000);
  EXPECT_GT(near, 100);
  EXPECT_GT(second_returns, 5);
  EXPECT_LT(off, checked / 50);
}

std::string Inflated(const std::string& stream, size_t size) {
  std::string bytes(size, '\0');
  uLongf length = size;
  EXPECT_EQ(uncompress(reinterpret_cast<Bytef*>(bytes.data()), &length, reinterpret_cast<const Bytef*>(stream.data()),
                       stream.size()),
            Z_OK);
  bytes.resize(length);
  return bytes;
}

TEST_F(SimulatedWaymoTest, ProjectionsNameACameraThatLooksThatWay) {
  const auto file =
      TfRecordFile::Open(options_->root + "/validation/segment-simulated_val_000000_with_camera_labels.tfrecord");
  ASSERT_THAT(file, IsOk());
  waymo::Frame frame;
  ASSERT_TRUE(frame.ParseFromString(*file->Read(0)));
  const waymo::RangeImage& image = frame.lasers(0).return_1();
  waymo::MatrixFloat ranges;
  waymo::MatrixInt32 projection;
  ASSERT_TRUE(ranges.ParseFromString(Inflated(image.range_image_compressed(), 64 << 20)));
  ASSERT_TRUE(projection.ParseFromString(Inflated(image.camera_projection_compressed(), 64 << 20)));
  const int rows = ranges.shape().dims(0), columns = ranges.shape().dims(1);
  ASSERT_EQ(projection.data_size(), rows * columns * 6);
  // Directions of cameras 1 to 5, in degrees; with 480 pixels at a focal length of 514 they see 25 to each side.
  const double gaze[] = {0, 45, -45, 90, -90};
  int seen = 0, unseen = 0;
  for (int i = 0; i < rows * columns; ++i) {
    if (ranges.data(4 * i) < 10) continue;
    const double degrees = 180 - 360 * (i % columns + 0.5) / columns;
    const int camera = projection.data(6 * i);
    ++(camera == 0 ? unseen : seen);
    if (camera == 0) continue;
    ASSERT_LE(camera, 5);
    const double aside = degrees - gaze[camera - 1];
    ASSERT_LT(std::abs(aside), 32) << "seen by camera " << camera;
    // Left is left; the cameras stand up to 1.5 m from the laser, which is 9 degrees at 10 m.
    EXPECT_NEAR(projection.data(6 * i + 1), 240 - 514 * std::tan(aside * M_PI / 180), 100);
  }
  EXPECT_GT(seen, 1000);
  EXPECT_GT(unseen, 1000);
}

TEST_F(SimulatedWaymoTest, SegmentsThatAreThereAreKept) {
  const std::string path = options_->root + "/training/segment-simulated_train_000001_with_camera_labels.tfrecord";
  const std::string digest = *Sha256DigestOfFile(path);
  std::filesystem::remove(path);
  EXPECT_THAT(WriteSimulatedWaymo(*options_, nullptr), IsOk());
  EXPECT_EQ(*Sha256DigestOfFile(path), digest);
}

}  // namespace
}  // namespace kd
