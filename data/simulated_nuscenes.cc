#include "data/simulated_nuscenes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"
#include "data/camera_picture.h"
#include "data/laser_scan.h"
#include "data/nuscenes_splits.h"
#include "data/nuscenes_tables.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kVersion[] = "v1.0-mini";
constexpr int kSweepsPerKeyFrame = 10;
// Of a scene: a street of two kilometres.
constexpr size_t kMostKeyFrames = 400;
constexpr double kSweepSeconds = 0.05;
constexpr int64_t kFirstTimestamp = 1'500'000'000'000'000, kSceneGap = 1'000'000'000;

constexpr int kBeams = 32, kColumns = 540, kPointColumns = 5;
constexpr double kMinElevation = -30.67 * M_PI / 180, kMaxElevation = 10.67 * M_PI / 180;
constexpr double kMaxRange = 70;
constexpr double kBrightest = 255;

constexpr int kImageWidth = 400, kImageHeight = 225;
constexpr int kMapSide = 16;

struct CameraMount {
  const char* channel;
  Vec3 place;
  double yaw_degrees;
  double focal_length;
  // Seconds from the LiDAR's key frame to the picture.
  double delay;
};
// As on the real vehicle, with a quarter of the pixels.
constexpr CameraMount kCameras[] = {{"CAM_FRONT", {1.70, 0.02, 1.51}, 0, 316, -0.0355},
                                    {"CAM_FRONT_RIGHT", {1.55, -0.49, 1.50}, -56, 316, -0.0276},
                                    {"CAM_FRONT_LEFT", {1.52, 0.49, 1.51}, 55, 316, -0.0431},
                                    {"CAM_BACK", {0.03, 0.0, 1.57}, 180, 202, -0.0104},
                                    {"CAM_BACK_LEFT", {1.04, 0.48, 1.56}, 108, 316, -0.0005},
                                    {"CAM_BACK_RIGHT", {1.02, -0.48, 1.56}, -110, 316, -0.0201}};

RigidTransform LidarToVehicle() {
  return {.rotation = RotationOfAngles(0, 0, -M_PI / 2), .translation = {0.94, 0, 1.84}};
}

RigidTransform CameraToVehicle(const CameraMount& mount) {
  const RigidTransform turned{.rotation = RotationOfAngles(0, 0, mount.yaw_degrees * M_PI / 180),
                              .translation = mount.place};
  return turned * RigidTransform{.rotation = {0, 0, 1, -1, 0, 0, 0, -1, 0}};
}

std::array<double, 9> IntrinsicOf(const CameraMount& mount) {
  return {mount.focal_length, 0, kImageWidth / 2.0, 0, mount.focal_length, kImageHeight / 2.0, 0, 0, 1};
}

LaserPattern LidarPattern() {
  LaserPattern pattern{.columns = kColumns, .first_azimuth = M_PI, .max_range = kMaxRange};
  for (int beam = 0; beam < kBeams; ++beam) {
    pattern.inclinations.push_back(kMinElevation + (kMaxElevation - kMinElevation) * beam / (kBeams - 1));
  }
  return pattern;
}

// By DriveKind.
constexpr const char* kCategories[kDriveKinds] = {"vehicle.car",           "vehicle.truck",
                                                  "vehicle.bus.rigid",     "vehicle.trailer",
                                                  "vehicle.construction",  "human.pedestrian.adult",
                                                  "vehicle.motorcycle",    "vehicle.bicycle",
                                                  "vehicle.bicycle",       "movable_object.trafficcone",
                                                  "movable_object.barrier"};

// Empty: none.
std::string AttributeOf(const DriveObject& object) {
  const bool moves = object.speed > 0;
  switch (object.kind) {
    case DriveKind::kCar:
    case DriveKind::kTruck:
    case DriveKind::kBus:
    case DriveKind::kTrailer:
    case DriveKind::kConstructionVehicle:
      return moves ? "vehicle.moving" : object.queues ? "vehicle.stopped" : "vehicle.parked";
    case DriveKind::kPedestrian:
      return moves ? "pedestrian.moving" : "pedestrian.standing";
    case DriveKind::kMotorcyclist:
    case DriveKind::kCyclist:
      return "cycle.with_rider";
    case DriveKind::kBicycle:
      return "cycle.without_rider";
    case DriveKind::kTrafficCone:
    case DriveKind::kBarrier:
      return "";
  }
  return "";
}

// Tokens of visibility.json.
std::string VisibilityOf(double share) { return share < 0.4 ? "1" : share < 0.6 ? "2" : share < 0.8 ? "3" : "4"; }

// A table as text that grows by records.
class Table {
 public:
  void Add(const Json& record) { absl::StrAppend(&text_, text_.empty() ? "[\n" : ",\n", record.dump()); }
  std::string Finish() const { return text_.empty() ? "[]\n" : text_ + "\n]\n"; }

 private:
  std::string text_;
};

Json ToJson(const Vec3& v) { return {v[0], v[1], v[2]}; }

Json RotationToJson(const RigidTransform& transform) {
  const std::array<double, 4> q = QuaternionOfRotation(transform.rotation);
  return {q[0], q[1], q[2], q[3]};
}

struct Annotation {
  Json record;
  int object = 0;
};

struct Sweep {
  std::vector<float> points;
  LaserView view;
  // By object: rays that meet it first.
  std::vector<int> rays_seen;
};

class NuscenesWriter {
 public:
  NuscenesWriter(const SimulatorOptions& options, const SimulatorProgress& progress)
      : options_(options), progress_(progress), total_(options.train_frames + options.val_frames) {}

  absl::Status Write() {
    for (const char* folder : {"samples", "sweeps"}) {
      KD_RETURN_IF_ERROR(
          CreateFolders(absl::StrCat(options_.root, "/", folder, "/", kNuscenesChannels[kNuscenesLidar])));
    }
    for (const CameraMount& camera : kCameras) {
      KD_RETURN_IF_ERROR(CreateFolders(absl::StrCat(options_.root, "/samples/", camera.channel)));
    }
    KD_RETURN_IF_ERROR(CreateFolders(options_.root + "/maps"));
    KD_RETURN_IF_ERROR(CreateFolders(absl::StrCat(options_.root, "/", kVersion)));
    AddVocabulary();
    AddSensors();
    for (const SimulatedNuscenesScene& scene : DrawNuscenesScenes(options_)) KD_RETURN_IF_ERROR(AddScene(scene));
    const std::vector<uint8_t> map(size_t{kMapSide} * kMapSide * 3, 255);
    KD_RETURN_IF_ERROR(WriteFileAtomically(options_.root + "/maps/simulated.jpg", EncodeJpeg(map, kMapSide, kMapSide)));
    tables_["map"].Add({{"token", Token("map", 0)},
                        {"log_tokens", logs_},
                        {"category", "semantic_prior"},
                        {"filename", "maps/simulated.jpg"}});
    // The table of scenes last: with it the folder is complete.
    for (const auto& [name, table] : tables_) {
      if (name != "scene") KD_RETURN_IF_ERROR(WriteTable(name, table));
    }
    return WriteTable("scene", tables_["scene"]);
  }

 private:
  absl::Status WriteTable(const std::string& name, const Table& table) const {
    return WriteFileAtomically(absl::StrCat(options_.root, "/", kVersion, "/", name, ".json"), table.Finish());
  }

  std::string Token(absl::string_view table, uint64_t number) const {
    const auto half = [&](absl::string_view part) {
      return absl::StrFormat("%016x", RngKeyBuilder().Add(part).Add(table).Add(options_.seed).Add(number).key());
    };
    return absl::StrCat(half("high"), half("low"));
  }
  // Another one with every call.
  std::string NewToken(const std::string& table) { return Token(table, ++next_token_[table]); }

  void AddVocabulary() {
    for (const char* name : kCategories) {
      if (category_tokens_.contains(name)) continue;
      category_tokens_[name] = NewToken("category");
      tables_["category"].Add({{"token", category_tokens_[name]}, {"name", name}, {"description", "Simulated."}});
    }
    for (const char* name : kNuscenesAttributes) {
      attribute_tokens_[name] = NewToken("attribute");
      tables_["attribute"].Add({{"token", attribute_tokens_[name]}, {"name", name}, {"description", "Simulated."}});
    }
    constexpr const char* kLevels[] = {"v0-40", "v40-60", "v60-80", "v80-100"};
    for (int i = 0; i < 4; ++i) {
      tables_["visibility"].Add({{"token", absl::StrCat(i + 1)},
                                 {"level", kLevels[i]},
                                 {"description", "Share of the laser's rays on the object, in percent."}});
    }
  }

  void AddSensor(const std::string& channel, const std::string& modality, const RigidTransform& to_vehicle,
                 const Json& intrinsic) {
    const std::string sensor = NewToken("sensor");
    tables_["sensor"].Add({{"token", sensor}, {"channel", channel}, {"modality", modality}});
    calibration_tokens_[channel] = NewToken("calibrated_sensor");
    tables_["calibrated_sensor"].Add({{"token", calibration_tokens_[channel]},
                                      {"sensor_token", sensor},
                                      {"translation", ToJson(to_vehicle.translation)},
                                      {"rotation", RotationToJson(to_vehicle)},
                                      {"camera_intrinsic", intrinsic}});
  }

  void AddSensors() {
    AddSensor(kNuscenesChannels[kNuscenesLidar], "lidar", LidarToVehicle(), Json::array());
    for (const CameraMount& camera : kCameras) {
      const std::array<double, 9> k = IntrinsicOf(camera);
      const Json rows = {{k[0], k[1], k[2]}, {k[3], k[4], k[5]}, {k[6], k[7], k[8]}};
      AddSensor(camera.channel, "camera", CameraToVehicle(camera), rows);
    }
  }

  // Returns the token of the new pose.
  std::string AddPose(const RigidTransform& vehicle_to_map, int64_t timestamp) {
    std::string token = NewToken("ego_pose");
    tables_["ego_pose"].Add({{"token", token},
                             {"timestamp", timestamp},
                             {"rotation", RotationToJson(vehicle_to_map)},
                             {"translation", ToJson(vehicle_to_map.translation)}});
    return token;
  }

  absl::Status AddScene(const SimulatedNuscenesScene& scene) {
    const int64_t start = kFirstTimestamp + static_cast<int64_t>(logs_.size()) * kSceneGap;
    const auto timestamp = [&](double second) { return start + std::llround(1e6 * second); };
    const std::string scene_token = NewToken("scene"), log = NewToken("log");
    logs_.push_back(log);
    tables_["log"].Add({{"token", log},
                        {"logfile", absl::StrCat("simulated-", scene.name)},
                        {"vehicle", "simulated"},
                        {"date_captured", "2017-07-14"},
                        {"location", "simulated"}});
    std::vector<std::string> samples;
    for (int i = 0; i < scene.key_frames; ++i) samples.push_back(NewToken("sample"));
    for (int i = 0; i < scene.key_frames; ++i) {
      tables_["sample"].Add({{"token", samples[i]},
                             {"timestamp", timestamp(SimulatedKeyFrameSecond(i))},
                             {"prev", i == 0 ? "" : samples[i - 1]},
                             {"next", i + 1 == scene.key_frames ? "" : samples[i + 1]},
                             {"scene_token", scene_token}});
    }
    tables_["scene"].Add({{"token", scene_token},
                          {"log_token", log},
                          {"nbr_samples", scene.key_frames},
                          {"first_sample_token", samples.front()},
                          {"last_sample_token", samples.back()},
                          {"name", scene.name},
                          {"description", "Simulated street"}});
    // Recordings of each channel in order of time, to be linked.
    std::map<std::string, std::vector<Json>> recordings;
    const auto record = [&](const std::string& channel, double second, int key_frame, bool is_key_frame,
                            const std::string& suffix) -> Json& {
      const RigidTransform vehicle = scene.drive.street_to_map * scene.drive.VehicleAt(second);
      const int64_t time = timestamp(second);
      return recordings[channel].emplace_back(
          Json{{"token", NewToken("sample_data")},
               {"sample_token", samples[key_frame]},
               {"ego_pose_token", AddPose(vehicle, time)},
               {"calibrated_sensor_token", calibration_tokens_[channel]},
               {"timestamp", time},
               {"fileformat", suffix == ".jpg" ? "jpg" : "pcd"},
               {"is_key_frame", is_key_frame},
               {"height", suffix == ".jpg" ? kImageHeight : 0},
               {"width", suffix == ".jpg" ? kImageWidth : 0},
               {"filename", absl::StrCat(is_key_frame ? "samples/" : "sweeps/", channel, "/", scene.name, "__", channel,
                                         "__", time, suffix)},
               {"prev", ""},
               {"next", ""}});
    };
    std::vector<Annotation> annotations;
    for (int i = 0; i < scene.key_frames * kSweepsPerKeyFrame; ++i) {
      const int key_frame = i / kSweepsPerKeyFrame;
      const bool is_key_frame = i % kSweepsPerKeyFrame == kSweepsPerKeyFrame - 1;
      const double second = is_key_frame ? SimulatedKeyFrameSecond(key_frame) : i * kSweepSeconds;
      CounterRng rng(RngKeyBuilder().Add("nuScenes sweep").Add(options_.seed).Add(scene.name).Add(i).key());
      const Sweep sweep = Scan(scene.drive, second, rng);
      const Json& row = record(kNuscenesChannels[kNuscenesLidar], second, key_frame, is_key_frame, ".pcd.bin");
      KD_RETURN_IF_ERROR(WriteFileAtomically(
          absl::StrCat(options_.root, "/", row["filename"].get<std::string>()),
          {reinterpret_cast<const char*>(sweep.points.data()), sweep.points.size() * sizeof(float)}));
      if (!is_key_frame) continue;
      for (const CameraMount& camera : kCameras) {
        const double shot = second + camera.delay;
        const Json& image = record(camera.channel, shot, key_frame, true, ".jpg");
        const std::vector<uint8_t> rgb = DrawPicture(
            scene.drive, shot,
            {kImageWidth, kImageHeight, IntrinsicOf(camera), scene.drive.VehicleAt(shot) * CameraToVehicle(camera)});
        KD_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(options_.root, "/", image["filename"].get<std::string>()),
                                               EncodeJpeg(rgb, kImageWidth, kImageHeight)));
      }
      Annotate(scene.drive, second, sweep, samples[key_frame], annotations);
      if (progress_) progress_(++done_, total_);
    }
    for (auto& [channel, rows] : recordings) {
      for (size_t i = 0; i < rows.size(); ++i) {
        if (i > 0) rows[i]["prev"] = rows[i - 1]["token"];
        if (i + 1 < rows.size()) rows[i]["next"] = rows[i + 1]["token"];
        tables_["sample_data"].Add(rows[i]);
      }
    }
    AddTracks(scene.drive, annotations);
    return absl::OkStatus();
  }

  static Sweep Scan(const DriveScene& drive, double second, CounterRng& rng) {
    static const LaserPattern& pattern = *new LaserPattern(LidarPattern());
    const RigidTransform pose = drive.VehicleAt(second) * LidarToVehicle();
    const std::vector<Primitive> solids = drive.SolidsAt(second, pose.translation[0], pose.translation[1], kMaxRange);
    Sweep sweep;
    sweep.view = CastRays(solids, pattern, {pose}, drive.objects.size());
    sweep.rays_seen.resize(drive.objects.size());
    for (int row = 0; row < kBeams; ++row) {
      for (int column = 0; column < kColumns; ++column) {
        const RayHits& hits = sweep.view.rays[static_cast<size_t>(row) * kColumns + column];
        const int solid = hits.first_solid;
        if (solid >= 0 && solids[solid].object >= 0) ++sweep.rays_seen[solids[solid].object];
        const double reflectivity = solid >= 0 ? solids[solid].reflectivity : kGroundReflectivity;
        const Echo echo = Measure(rng, hits.first, reflectivity, kMaxRange);
        if (!echo.returned) continue;
        const Vec3 direction = pattern.DirectionOf(row, column);
        for (const double v : direction) sweep.points.push_back(static_cast<float>(v * echo.range));
        sweep.points.push_back(static_cast<float>(std::round(std::min(echo.reflectivity, 1.0) * kBrightest)));
        sweep.points.push_back(static_cast<float>(row));
      }
    }
    ShuffleRows(rng, kPointColumns, sweep.points);
    return sweep;
  }

  void Annotate(const DriveScene& drive, double second, const Sweep& sweep, const std::string& sample,
                std::vector<Annotation>& annotations) {
    const RigidTransform pose = drive.VehicleAt(second) * LidarToVehicle();
    std::vector<Vec3> points;
    for (size_t i = 0; i < sweep.points.size(); i += kPointColumns) {
      points.push_back(pose.Apply({sweep.points[i], sweep.points[i + 1], sweep.points[i + 2]}));
    }
    for (size_t i = 0; i < drive.objects.size(); ++i) {
      if (sweep.view.rays_on_object[i] == 0) continue;
      const DriveObject& object = drive.objects[i];
      const RigidTransform box = object.BoxAt(second);
      const int inside = PointsInBox(points, box, object.size);
      if (inside == 0) continue;
      const RigidTransform on_map = drive.street_to_map * box;
      const std::string attribute = AttributeOf(object);
      Json attributes = Json::array();
      if (!attribute.empty()) attributes.push_back(attribute_tokens_[attribute]);
      const double share = static_cast<double>(sweep.rays_seen[i]) / sweep.view.rays_on_object[i];
      annotations.push_back({.record = {{"token", NewToken("sample_annotation")},
                                        {"sample_token", sample},
                                        {"instance_token", ""},
                                        {"visibility_token", VisibilityOf(share)},
                                        {"attribute_tokens", attributes},
                                        {"translation", ToJson(on_map.translation)},
                                        {"size", {object.size.w, object.size.l, object.size.h}},
                                        {"rotation", RotationToJson(on_map)},
                                        {"prev", ""},
                                        {"next", ""},
                                        {"num_lidar_pts", inside},
                                        {"num_radar_pts", 0}},
                             .object = static_cast<int>(i)});
    }
  }

  // Links the annotations of each object and adds its instance.
  void AddTracks(const DriveScene& drive, std::vector<Annotation>& annotations) {
    std::map<int, std::vector<Json*>> tracks;
    for (Annotation& annotation : annotations) tracks[annotation.object].push_back(&annotation.record);
    for (auto& [object, track] : tracks) {
      const std::string instance = NewToken("instance");
      const char* const category = kCategories[static_cast<int>(drive.objects[object].kind)];
      for (size_t i = 0; i < track.size(); ++i) {
        (*track[i])["instance_token"] = instance;
        if (i > 0) (*track[i])["prev"] = (*track[i - 1])["token"];
        if (i + 1 < track.size()) (*track[i])["next"] = (*track[i + 1])["token"];
      }
      tables_["instance"].Add({{"token", instance},
                               {"category_token", category_tokens_[category]},
                               {"nbr_annotations", track.size()},
                               {"first_annotation_token", (*track.front())["token"]},
                               {"last_annotation_token", (*track.back())["token"]}});
    }
    for (const Annotation& annotation : annotations) tables_["sample_annotation"].Add(annotation.record);
  }

  const SimulatorOptions& options_;
  const SimulatorProgress& progress_;
  const uint32_t total_;
  uint32_t done_ = 0;
  std::map<std::string, Table> tables_;
  std::map<std::string, uint64_t> next_token_;
  std::map<std::string, std::string> category_tokens_, attribute_tokens_, calibration_tokens_;
  std::vector<std::string> logs_;
};

}  // namespace

double SimulatedKeyFrameSecond(int key_frame) { return kSweepSeconds * (kSweepsPerKeyFrame * (key_frame + 1) - 1); }

std::vector<SimulatedNuscenesScene> DrawNuscenesScenes(const SimulatorOptions& options) {
  std::vector<SimulatedNuscenesScene> scenes;
  const auto add = [&](const char* split, uint32_t frames) {
    const std::vector<std::string> names = *NuscenesSplitScenes(split);
    for (size_t i = 0; i < names.size(); ++i) {
      const auto key_frames = static_cast<int>((frames + names.size() - 1 - i) / names.size());
      if (key_frames == 0) continue;
      CounterRng rng(RngKeyBuilder().Add("nuScenes scene").Add(options.seed).Add(names[i]).key());
      scenes.push_back({.name = names[i],
                        .key_frames = key_frames,
                        .drive = DrawDriveScene(rng, SimulatedKeyFrameSecond(key_frames - 1))});
    }
  };
  add("mini_train", options.train_frames);
  add("mini_val", options.val_frames);
  return scenes;
}

absl::Status WriteSimulatedNuscenes(const SimulatorOptions& options, const SimulatorProgress& progress) {
  const auto check = [](const char* split, uint32_t frames) -> absl::Status {
    const size_t most = NuscenesSplitScenes(split)->size() * kMostKeyFrames;
    if (frames <= most) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(frames, " key frames for the scenes of ", split, ", at most ", most,
                                                   " are possible (", kMostKeyFrames, " a scene)"));
  };
  KD_RETURN_IF_ERROR(check("mini_train", options.train_frames));
  KD_RETURN_IF_ERROR(check("mini_val", options.val_frames));
  KD_RETURN_IF_ERROR(ClaimSimulatorFolder(options, "nuscenes", kVersion));
  if (std::filesystem::exists(absl::StrCat(options.root, "/", kVersion, "/scene.json"))) return absl::OkStatus();
  return NuscenesWriter(options, progress).Write();
}

}  // namespace kd
