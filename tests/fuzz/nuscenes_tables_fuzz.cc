// nuScenes's tables. The input replaces some of a small data set's: "name of the table%%%%its text%%%%..."; the table
// "lidar" is the points of the samples.
#include "absl/strings/str_cat.h"
#include "data/nuscenes_dataset.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/nuscenes_seed.h"

namespace kd {
namespace {

void ReadAll(const NuscenesDataset& dataset) {
  const NuscenesTables& tables = dataset.tables();
  for (const NuscenesRecording& recording : tables.recordings()) {
    for (const double value : tables.SensorToGlobal(recording).translation)
      Require(std::isfinite(value), "poses are finite");
  }
  for (const NuscenesAnnotation& annotation : tables.annotations()) tables.Velocity(annotation);
  for (const char* split : {"mini_val", "mini_train"}) {
    const auto samples = dataset.Split(split);
    if (!samples.ok()) {
      RequireRefusal(samples.status(), {absl::StatusCode::kNotFound});
      continue;
    }
    for (const std::string& sample : *samples) {
      const auto frame = dataset.Read(sample);
      // A file that tables name and that is not there.
      if (!frame.ok()) {
        RequireRefusal(frame.status(),
                       {absl::StatusCode::kDataLoss, absl::StatusCode::kNotFound, absl::StatusCode::kInvalidArgument});
      } else {
        RequireUsable(*frame, 1, 1000);
      }
      const auto cameras = dataset.Cameras(sample);
      if (!cameras.ok()) RequireRefusal(cameras.status(), {absl::StatusCode::kDataLoss});
    }
    const auto digest = dataset.Digest(split);
    if (!digest.ok()) RequireRefusal(digest.status(), {absl::StatusCode::kDataLoss, absl::StatusCode::kNotFound});
  }
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kMaxTables = 11;
  const std::vector<std::string> parts = kd::InputParts(data, size, 2 * kMaxTables);
  static bool written = false;
  static std::vector<std::string> changed;
  if (!written) kd::WriteNuscenesSeed(std::string(40, 'A'));
  written = true;
  // Only what the last input changed is written back.
  for (const std::string& name : changed) {
    if (name == "lidar") {
      kd::WriteInput("lidar.bin", std::string(40, 'A'));
    } else {
      kd::WriteInput(absl::StrCat("v1.0-mini/", name, ".json"), kd::NuscenesSeedTables().at(name));
    }
  }
  changed.clear();
  for (size_t i = 0; i + 1 < parts.size(); i += 2) {
    const bool lidar = parts[i] == "lidar";
    if (!lidar && kd::NuscenesSeedTables().count(parts[i]) == 0) continue;
    kd::WriteInput(lidar ? "lidar.bin" : absl::StrCat("v1.0-mini/", parts[i], ".json"), parts[i + 1]);
    changed.push_back(parts[i]);
  }
  const auto dataset = kd::NuscenesDataset::Open(kd::InputFolder().path(), "v1.0-mini", {"car"});
  if (!dataset.ok()) {
    kd::RequireRefusal(dataset.status(), {absl::StatusCode::kDataLoss});
    return 0;
  }
  kd::ReadAll(**dataset);
  return 0;
}
