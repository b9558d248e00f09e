#include "tests/fuzz/nuscenes_seed.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/nuscenes_tables.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

std::string Token(char digit) { return absl::StrCat("\"", std::string(32, digit), "\""); }
// Of a camera, or of its recording.
std::string CameraToken(char digit, size_t camera) { return absl::StrCat("\"", std::string(31, digit), camera, "\""); }

constexpr char kUpright[] = "\"rotation\": [1, 0, 0, 0]";

std::map<std::string, std::string> MakeTables() {
  std::map<std::string, std::string> tables;
  tables["category"] = absl::StrCat("[{\"token\": ", Token('c'), ", \"name\": \"vehicle.car\"}]");
  tables["attribute"] = absl::StrCat("[{\"token\": ", Token('e'), ", \"name\": \"vehicle.moving\"}]");
  tables["instance"] =
      absl::StrCat("[{\"token\": ", Token('d'), ", \"category_token\": ", Token('c'),
                   ", \"first_annotation_token\": ", Token('1'), ", \"last_annotation_token\": ", Token('2'), "}]");
  tables["scene"] = absl::StrCat("[{\"token\": ", Token('f'),
                                 ", \"name\": \"scene-0103\", \"nbr_samples\": 2, \"first_sample_token\": ", Token('a'),
                                 ", \"last_sample_token\": ", Token('b'), "}]");
  tables["sample"] = absl::StrCat(
      "[{\"token\": ", Token('a'), ", \"timestamp\": 1000000, \"prev\": \"\", \"next\": ", Token('b'),
      ", \"scene_token\": ", Token('f'), "},\n{\"token\": ", Token('b'),
      ", \"timestamp\": 1500000, \"prev\": ", Token('a'), ", \"next\": \"\", \"scene_token\": ", Token('f'), "}]");
  std::vector<std::string> sensors, calibrations, recordings;
  for (size_t channel = 0; channel < kNuscenesChannels.size(); ++channel) {
    sensors.push_back(absl::StrCat("{\"token\": ", CameraToken('5', channel), ", \"channel\": \"",
                                   kNuscenesChannels[channel], "\"}"));
    const char* intrinsic = channel == kNuscenesLidar ? "[]" : "[[1000, 0, 800], [0, 1000, 450], [0, 0, 1]]";
    calibrations.push_back(
        absl::StrCat("{\"token\": ", CameraToken('6', channel), ", \"sensor_token\": ", CameraToken('5', channel),
                     ", \"translation\": [1, 0, 1.8], ", kUpright, ", \"camera_intrinsic\": ", intrinsic, "}"));
  }
  const auto recording = [&](const std::string& token, const std::string& sample, size_t channel, int64_t time,
                             const std::string& file, const std::string& previous, const std::string& next) {
    recordings.push_back(
        absl::StrCat("{\"token\": ", token, ", \"sample_token\": ", sample, ", \"ego_pose_token\": ", Token('9'),
                     ", \"calibrated_sensor_token\": ", CameraToken('6', channel), ", \"timestamp\": ", time,
                     ", \"is_key_frame\": true, \"height\": 900, \"width\": 1600, \"filename\": \"", file,
                     "\", \"prev\": ", previous, ", \"next\": ", next, "}"));
  };
  recording(Token('7'), Token('a'), kNuscenesLidar, 1000000, "lidar.bin", "\"\"", Token('8'));
  recording(Token('8'), Token('b'), kNuscenesLidar, 1500000, "lidar.bin", Token('7'), "\"\"");
  for (size_t camera = 1; camera < kNuscenesChannels.size(); ++camera) {
    recording(CameraToken('7', camera), Token('a'), camera, 1000000, "camera.jpg", "\"\"", "\"\"");
  }
  const auto list = [](const std::vector<std::string>& records) {
    return absl::StrCat("[", absl::StrJoin(records, ",\n"), "]");
  };
  tables["sensor"] = list(sensors);
  tables["calibrated_sensor"] = list(calibrations);
  tables["sample_data"] = list(recordings);
  tables["ego_pose"] = absl::StrCat("[{\"token\": ", Token('9'), ", \"translation\": [600, 1200, 0], ", kUpright, "}]");
  const auto annotation = [&](char token, char sample, const std::string& previous, const std::string& next) {
    return absl::StrCat(
        "{\"token\": ", Token(token), ", \"sample_token\": ", Token(sample), ", \"instance_token\": ", Token('d'),
        ", \"attribute_tokens\": [", Token('e'), "], \"translation\": [610, 1200, 1], \"size\": [1.9, 4.5, 1.6], ",
        kUpright, ", \"prev\": ", previous, ", \"next\": ", next, ", \"num_lidar_pts\": 5, \"num_radar_pts\": 0}");
  };
  tables["sample_annotation"] =
      list({annotation('1', 'a', "\"\"", Token('2')), annotation('2', 'b', Token('1'), "\"\"")});
  return tables;
}

}  // namespace

const std::map<std::string, std::string>& NuscenesSeedTables() {
  static const auto& tables = *new std::map<std::string, std::string>(MakeTables());
  return tables;
}

void WriteNuscenesSeed(const std::string& lidar) {
  MakeInputFolders({"v1.0-mini"});
  for (const auto& [name, text] : NuscenesSeedTables()) WriteInput(absl::StrCat("v1.0-mini/", name, ".json"), text);
  WriteInput("lidar.bin", lidar);
}

}  // namespace kd
