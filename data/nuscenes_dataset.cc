#include "data/nuscenes_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "data/split_digest.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxPointBytes = uint64_t{1} << 30;
// The vehicle's own points: metres from the sensor along x and y.
constexpr float kOwnVehicle = 1;

std::string ClassList() {
  return absl::StrJoin(kNuscenesClasses, ", ",
                       [](std::string* out, const NuscenesClass& c) { absl::StrAppend(out, c.name); });
}

// Appends `sweep`, N x 5 of a file, to `frame` as the key frame's sensor would see it.
void AppendSweep(const std::vector<float>& sweep, const RigidTransform& to_key, double seconds, Frame& frame) {
  std::vector<float>& points = frame.points;
  points.reserve(points.size() + sweep.size());
  for (size_t i = 0; i < sweep.size(); i += kNuscenesPointFeatures) {
    if (std::abs(sweep[i]) < kOwnVehicle && std::abs(sweep[i + 1]) < kOwnVehicle) continue;
    const Vec3 moved = to_key.Apply({sweep[i], sweep[i + 1], sweep[i + 2]});
    // What was at float32's end may be beyond it now.
    if (!std::all_of(moved.begin(), moved.end(), [](double v) { return std::isfinite(static_cast<float>(v)); })) {
      ++frame.not_finite;
      continue;
    }
    for (const double v : moved) points.push_back(static_cast<float>(v));
    points.push_back(sweep[i + 3]);
    points.push_back(static_cast<float>(seconds));
  }
}

// The bytes of `value`.
template <typename T>
void Append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void Append(std::string& bytes, const RigidTransform& transform) {
  Append(bytes, transform.rotation);
  Append(bytes, transform.translation);
}

}  // namespace

absl::StatusOr<std::unique_ptr<NuscenesDataset>> NuscenesDataset::Open(const std::string& root,
                                                                       const std::string& version,
                                                                       std::vector<std::string> class_names,
                                                                       int num_sweeps) {
  if (class_names.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.class_names is empty; name the classes to learn: ", ClassList()));
  }
  for (const std::string& name : class_names) {
    if (NuscenesClassIndex(name) >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("data.class_names: \"", absl::CEscape(name.substr(0, 64)),
                                                   "\" is no detection class of nuScenes; there are: ", ClassList()));
  }
  KD_ASSIGN_OR_RETURN(NuscenesTables tables, NuscenesTables::Open(root, version));
  return std::unique_ptr<NuscenesDataset>(new NuscenesDataset(std::move(tables), std::move(class_names), num_sweeps));
}

NuscenesDataset::NuscenesDataset(NuscenesTables tables, std::vector<std::string> class_names, int num_sweeps)
    : tables_(std::move(tables)), class_names_(std::move(class_names)), num_sweeps_(num_sweeps) {
  for (size_t i = 0; i < labels_.size(); ++i) {
    const auto name = std::find(class_names_.begin(), class_names_.end(), kNuscenesClasses[i].name);
    labels_[i] = name == class_names_.end() ? -1 : static_cast<int>(name - class_names_.begin());
  }
}

absl::StatusOr<std::vector<std::string>> NuscenesDataset::Split(const std::string& split) const {
  KD_ASSIGN_OR_RETURN(const std::vector<int32_t> samples, tables_.SplitSamples(split));
  std::vector<std::string> names;
  for (const int32_t sample : samples) names.push_back(FormatNuscenesToken(tables_.samples()[sample].token));
  return names;
}

absl::StatusOr<Frame> NuscenesDataset::Read(const std::string& sample) const {
  KD_ASSIGN_OR_RETURN(NuscenesFrame read, ReadKeyFrame(sample));
  return std::move(read.frame);
}

absl::StatusOr<NuscenesFrame> NuscenesDataset::ReadKeyFrame(const std::string& sample) const {
  KD_ASSIGN_OR_RETURN(const int32_t index, tables_.FindSample(sample));
  KD_ASSIGN_OR_RETURN(const NuscenesRecording* const key, tables_.KeyFrame(index, kNuscenesLidar));
  const RigidTransform global_to_key = tables_.SensorToGlobal(*key).Inverse();
  NuscenesFrame result{.timestamp_us = key->timestamp_us};
  result.frame.sample = sample;
  result.frame.num_features = kNuscenesPointFeatures;
  for (const NuscenesRecording* recording : SweepsOf(*key)) {
    size_t not_finite = 0;
    KD_ASSIGN_OR_RETURN(const std::vector<float> sweep,
                        ReadNuscenesPoints(absl::StrCat(tables_.root(), "/", recording->filename), &not_finite));
    result.frame.not_finite += not_finite;
    const double seconds = 1e-6 * static_cast<double>(key->timestamp_us - recording->timestamp_us);
    AppendSweep(sweep, recording == key ? RigidTransform{} : global_to_key * tables_.SensorToGlobal(*recording),
                seconds, result.frame);
  }
  for (const int32_t i : tables_.AnnotationsOf(index)) {
    const NuscenesAnnotation& annotation = tables_.annotations()[i];
    const int label = LabelOf(annotation);
    if (label < 0) continue;
    const RigidTransform box = global_to_key * annotation.box_to_global;
    const std::array<double, 2> velocity = tables_.Velocity(annotation);
    const Vec3 turned = global_to_key.Rotate({velocity[0], velocity[1], 0});
    const auto vx = static_cast<float>(turned[0]), vy = static_cast<float>(turned[1]);
    result.velocities.push_back({vx, vy});
    result.frame.boxes.push_back({.box = {.x = static_cast<float>(box.translation[0]),
                                          .y = static_cast<float>(box.translation[1]),
                                          .z = static_cast<float>(box.translation[2]),
                                          .dx = static_cast<float>(annotation.size[1]),
                                          .dy = static_cast<float>(annotation.size[0]),
                                          .dz = static_cast<float>(annotation.size[2]),
                                          .yaw = static_cast<float>(box.Yaw())},
                                  .label = label,
                                  .vx = std::isnan(vx) ? 0 : vx,
                                  .vy = std::isnan(vy) ? 0 : vy,
                                  .num_points = annotation.num_lidar_points});
  }
  return result;
}

absl::StatusOr<std::vector<NuscenesCamera>> NuscenesDataset::Cameras(const std::string& sample) const {
  KD_ASSIGN_OR_RETURN(const int32_t index, tables_.FindSample(sample));
  KD_ASSIGN_OR_RETURN(const NuscenesRecording* const lidar, tables_.KeyFrame(index, kNuscenesLidar));
  const RigidTransform lidar_to_global = tables_.SensorToGlobal(*lidar);
  std::vector<NuscenesCamera> cameras;
  for (int channel = kNuscenesLidar + 1; channel < static_cast<int>(kNuscenesChannels.size()); ++channel) {
    KD_ASSIGN_OR_RETURN(const NuscenesRecording* const image, tables_.KeyFrame(index, channel));
    const NuscenesCalibration& calibration = tables_.calibrations()[image->calibration];
    NuscenesCamera& camera = cameras.emplace_back();
    camera.channel = kNuscenesChannels[channel];
    camera.path = absl::StrCat(tables_.root(), "/", image->filename);
    camera.width = image->width;
    camera.height = image->height;
    camera.timestamp_us = image->timestamp_us;
    camera.intrinsic = *calibration.intrinsic;
    camera.camera_to_ego = calibration.sensor_to_ego;
    camera.ego_to_global = tables_.poses()[image->pose];
    camera.lidar_to_camera = tables_.SensorToGlobal(*image).Inverse() * lidar_to_global;
    for (int row = 0; row < 3; ++row) {
      for (int k = 0; k < 3; ++k) {
        const double factor = camera.intrinsic[3 * row + k];
        for (int column = 0; column < 3; ++column) {
          camera.lidar_to_image[4 * row + column] += factor * camera.lidar_to_camera.rotation[3 * k + column];
        }
        camera.lidar_to_image[4 * row + 3] += factor * camera.lidar_to_camera.translation[k];
      }
    }
  }
  return cameras;
}

absl::StatusOr<std::string> NuscenesDataset::Digest(const std::string& split) const {
  KD_ASSIGN_OR_RETURN(const std::vector<int32_t> samples, tables_.SplitSamples(split));
  const std::string head =
      absl::StrCat("nuscenes\n", num_sweeps_, " sweeps\n", absl::StrJoin(class_names_, "\n"), "\n");
  return SplitDigest(head, samples.size(), [&](size_t i) { return DigestPart(split, samples[i]); });
}

absl::StatusOr<std::string> NuscenesDataset::DigestPart(const std::string& split, int32_t sample) const {
  KD_ASSIGN_OR_RETURN(const NuscenesRecording* const key, tables_.KeyFrame(sample, kNuscenesLidar));
  const std::string token = FormatNuscenesToken(tables_.samples()[sample].token);
  std::string part = absl::StrCat(token, "\n");
  for (const NuscenesRecording* recording : SweepsOf(*key)) {
    const std::string path = absl::StrCat(tables_.root(), "/", recording->filename);
    std::error_code error;
    const uintmax_t size = fs::file_size(path, error);
    if (error) {
      return absl::NotFoundError(absl::StrCat("sample ", token, " of split \"", split, "\": ", path,
                                              " is missing; unpack nuScenes's archive of it"));
    }
    absl::StrAppend(&part, size, " ", recording->timestamp_us, "\n");
    Append(part, tables_.SensorToGlobal(*recording));
  }
  for (const int32_t i : tables_.AnnotationsOf(sample)) {
    const NuscenesAnnotation& annotation = tables_.annotations()[i];
    if (LabelOf(annotation) < 0) continue;
    absl::StrAppend(&part, LabelOf(annotation), "\n");
    Append(part, annotation.box_to_global);
    Append(part, annotation.size);
    // NaN has many forms of bytes; an unknown velocity has one.
    const std::array<double, 2> velocity = tables_.Velocity(annotation);
    const bool known = !std::isnan(velocity[0]);
    Append(part, known);
    if (known) Append(part, velocity);
  }
  return part;
}

std::vector<const NuscenesRecording*> NuscenesDataset::SweepsOf(const NuscenesRecording& key) const {
  std::vector<const NuscenesRecording*> sweeps = {&key};
  while (static_cast<int>(sweeps.size()) < num_sweeps_ && sweeps.back()->previous >= 0) {
    sweeps.push_back(&tables_.recordings()[sweeps.back()->previous]);
  }
  return sweeps;
}

int NuscenesDataset::LabelOf(const NuscenesAnnotation& annotation) const {
  return annotation.label < 0 ? -1 : labels_[annotation.label];
}

absl::StatusOr<std::vector<float>> ReadNuscenesPoints(const std::string& path, size_t* not_finite) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxPointBytes));
  constexpr size_t kRow = kNuscenesPointFeatures * sizeof(float);
  if (bytes.size() % kRow != 0) {
    return absl::DataLossError(absl::StrCat(path, ": ", bytes.size(), " bytes are not a whole number of points (", kRow,
                                            " bytes each); the file is cut short, copy it anew"));
  }
  if (bytes.empty()) return absl::DataLossError(absl::StrCat(path, " is empty; the file is cut short, copy it anew"));
  std::vector<float> points(bytes.size() / sizeof(float));
  std::memcpy(points.data(), bytes.data(), bytes.size());
  size_t kept = 0;
  for (size_t i = 0; i < points.size(); i += kNuscenesPointFeatures) {
    const auto first = points.begin() + static_cast<std::ptrdiff_t>(i);
    if (!std::all_of(first, first + kNuscenesPointFeatures, [](float v) { return std::isfinite(v); })) continue;
    std::copy_n(first, kNuscenesPointFeatures, points.begin() + static_cast<std::ptrdiff_t>(kept));
    kept += kNuscenesPointFeatures;
  }
  if (not_finite != nullptr) *not_finite = (points.size() - kept) / kNuscenesPointFeatures;
  points.resize(kept);
  return points;
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenNuscenesDataset(const v1::Data& data) {
  fs::path tables = fs::path(data.root()).lexically_normal();
  if (!tables.has_filename()) tables = tables.parent_path();
  std::error_code error;
  if (!fs::exists(tables / "sample.json", error)) {
    std::vector<std::string> versions;
    for (fs::directory_iterator it(tables, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      // Archives of a download have such names, too.
      std::error_code unknown;
      if (absl::StartsWith(name, "v1.0-") && it->is_directory(unknown)) versions.push_back(name);
    }
    std::sort(versions.begin(), versions.end());
    if (versions.size() != 1) {
      return absl::NotFoundError(
          absl::StrCat("data.root \"", data.root(), "\" holds ",
                       versions.empty() ? "no tables of nuScenes" : absl::StrJoin(versions, ", "),
                       "; name the folder of the tables, such as /data/nuscenes/v1.0-trainval"));
    }
    tables /= versions.front();
  }
  return NuscenesDataset::Open(tables.parent_path().string(), tables.filename().string(),
                               {data.class_names().begin(), data.class_names().end()},
                               data.sweeps() > 0 ? static_cast<int>(data.sweeps()) : kNuscenesSweeps);
}

}  // namespace kd
