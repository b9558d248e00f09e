// The tables of a nuScenes data set (datasets.md sections 2.1 to 2.5): what its records hold, and which belong
// together.
#ifndef KD_DATA_NUSCENES_TABLES_H_
#define KD_DATA_NUSCENES_TABLES_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "data/nuscenes_token.h"
#include "data/rigid_transform.h"

namespace kd {

// The detection classes, in the order of results.
struct NuscenesClass {
  const char* name;
  // Objects whose centre is nearer to the ego vehicle than this (metres, on the ground) are evaluated.
  double range;
};
inline constexpr std::array<NuscenesClass, 10> kNuscenesClasses = {{{"car", 50},
                                                                    {"truck", 50},
                                                                    {"bus", 50},
                                                                    {"trailer", 50},
                                                                    {"construction_vehicle", 50},
                                                                    {"pedestrian", 40},
                                                                    {"motorcycle", 40},
                                                                    {"bicycle", 40},
                                                                    {"traffic_cone", 30},
                                                                    {"barrier", 30}}};
inline constexpr std::array<const char*, 8> kNuscenesAttributes = {
    "pedestrian.moving",   "pedestrian.sitting_lying_down",
    "pedestrian.standing", "cycle.with_rider",
    "cycle.without_rider", "vehicle.moving",
    "vehicle.parked",      "vehicle.stopped"};

// Index into the lists above; -1: none of them.
int NuscenesClassIndex(absl::string_view name);
int NuscenesAttributeIndex(absl::string_view name);

// The sensors whose files are read: the LiDAR, then the cameras.
inline constexpr std::array<const char*, 7> kNuscenesChannels = {
    "LIDAR_TOP", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT"};
inline constexpr int kNuscenesLidar = 0;

// Indices point into the vectors of NuscenesTables; -1: none.
struct NuscenesSample {
  NuscenesToken token = 0;
  int64_t timestamp_us = 0;
  int32_t scene = -1, previous = -1, next = -1;
  // The key frame's recording of each channel.
  std::array<int32_t, kNuscenesChannels.size()> recordings{-1, -1, -1, -1, -1, -1, -1};
};

// A row of sample_data. Of cameras only key frames are kept, of radars none.
struct NuscenesRecording {
  NuscenesToken token = 0;
  int32_t sample = -1, calibration = -1, pose = -1;
  // Of the LiDAR alone: the recording before this one, key frame or not.
  int32_t previous = -1;
  int64_t timestamp_us = 0;
  bool is_key_frame = false;
  int32_t width = 0, height = 0;
  // Below the data set's folder.
  std::string filename;
};

struct NuscenesCalibration {
  RigidTransform sensor_to_ego;
  // Row-major; cameras alone.
  std::optional<std::array<double, 9>> intrinsic;
  // Index into kNuscenesChannels; -1: a sensor that is not read.
  int channel = -1;
};

// A labelled box in the global frame.
struct NuscenesAnnotation {
  NuscenesToken token = 0;
  int32_t sample = -1, instance = -1, previous = -1, next = -1;
  // Index into kNuscenesClasses; -1: another category.
  int8_t label = -1;
  bool is_bicycle_rack = false;
  // Index into kNuscenesAttributes of the first, and their number.
  int8_t attribute = -1;
  int32_t num_attributes = 0;
  int32_t num_lidar_points = 0, num_radar_points = 0;
  RigidTransform box_to_global;
  // Width, length, height.
  Vec3 size{};
};

// Immutable, thus thread-safe.
class NuscenesTables {
 public:
  // Reads ROOT/VERSION/*.json, but for log, map and visibility, which nothing here needs.
  // NOT_FOUND: a folder or table is missing. DATA_LOSS: a table is damaged: broken JSON, a field of another type, a
  // link to a record that is not there, or lists that contradict each other. Messages name the file, record, field and
  // remedy.
  static absl::StatusOr<NuscenesTables> Open(const std::string& root, const std::string& version);

  const std::string& root() const { return root_; }
  const std::string& version() const { return version_; }
  const std::vector<NuscenesSample>& samples() const { return samples_; }
  const std::vector<NuscenesRecording>& recordings() const { return recordings_; }
  const std::vector<NuscenesCalibration>& calibrations() const { return calibrations_; }
  // Ego vehicle to global.
  const std::vector<RigidTransform>& poses() const { return poses_; }
  const std::vector<NuscenesAnnotation>& annotations() const { return annotations_; }

  // Index into samples(). NOT_FOUND: not a token of a sample.
  absl::StatusOr<int32_t> FindSample(absl::string_view token) const;

  // Samples of an official split, in table order.
  // NOT_FOUND: no such split, or these tables hold no scene of it.
  absl::StatusOr<std::vector<int32_t>> SplitSamples(absl::string_view split) const;

  // The key frame's recording of a channel. DATA_LOSS: the sample has none.
  absl::StatusOr<const NuscenesRecording*> KeyFrame(int32_t sample, int channel) const;

  // Annotations of a sample, in table order.
  absl::Span<const int32_t> AnnotationsOf(int32_t sample) const;

  // Metres per second in the global frame, from the neighbours in time; NaN where there are none, or they are further
  // away than 1.5 s (3 s between two).
  std::array<double, 2> Velocity(const NuscenesAnnotation& annotation) const;

  // Of a recording: its sensor's frame at its time to the global frame.
  RigidTransform SensorToGlobal(const NuscenesRecording& recording) const;

 private:
  friend class NuscenesTableReader;

  std::string root_, version_;
  std::vector<std::string> scenes_;  // Names.
  std::vector<NuscenesSample> samples_;
  std::vector<NuscenesRecording> recordings_;
  std::vector<NuscenesCalibration> calibrations_;
  std::vector<RigidTransform> poses_;
  std::vector<NuscenesAnnotation> annotations_;
  absl::flat_hash_map<NuscenesToken, int32_t> sample_index_;
  // Annotations of sample i: those that by_sample_ names from first_by_sample_[i] to first_by_sample_[i + 1].
  std::vector<int32_t> by_sample_;
  std::vector<size_t> first_by_sample_;
};

}  // namespace kd

#endif  // KD_DATA_NUSCENES_TABLES_H_
