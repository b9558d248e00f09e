// nuScenes key frames (datasets.md sections 2.3 to 2.5), in the LiDAR's own frame: x right, y forward, z up.
#ifndef KD_DATA_NUSCENES_DATASET_H_
#define KD_DATA_NUSCENES_DATASET_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/nuscenes_tables.h"

namespace kd {

// Columns of a point: x, y, z, intensity (0 to 255), seconds before the key frame.
inline constexpr int kNuscenesPointFeatures = 5;
inline constexpr int kNuscenesSweeps = 10;

struct NuscenesFrame {
  Frame frame;
  // Of each box: metres per second along x and y of the LiDAR frame. NaN: unknown, where the box itself says 0.
  std::vector<std::array<float, 2>> velocities;
  int64_t timestamp_us = 0;
};

// A camera's key frame.
struct NuscenesCamera {
  std::string channel;
  // The JPEG file.
  std::string path;
  int width = 0, height = 0;
  int64_t timestamp_us = 0;
  // Row-major; camera frame (x right, y down, z forward) to pixels, divided by z.
  std::array<double, 9> intrinsic{};
  RigidTransform camera_to_ego;
  // The vehicle's pose when the image was taken.
  RigidTransform ego_to_global;
  // From the LiDAR key frame, through both poses.
  RigidTransform lidar_to_camera;
  // Row-major 3 x 4: intrinsic times lidar_to_camera.
  std::array<double, 12> lidar_to_image{};
};

class NuscenesDataset : public Dataset {
 public:
  // `class_names` are detection classes of nuScenes; boxes of others are left out. `num_sweeps` counts the key frame.
  // Errors of NuscenesTables::Open(); INVALID_ARGUMENT: no class, or one that is not nuScenes's.
  static absl::StatusOr<std::unique_ptr<NuscenesDataset>> Open(const std::string& root, const std::string& version,
                                                               std::vector<std::string> class_names,
                                                               int num_sweeps = kNuscenesSweeps);

  // Tokens of the samples of an official split (mini_train, mini_val, train, val, test), in table order.
  absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const override;
  absl::StatusOr<Frame> Read(const std::string& sample) const override;
  const std::vector<std::string>& class_names() const override { return class_names_; }
  absl::StatusOr<std::string> Digest(const std::string& split) const override;

  // Points of the key frame and up to num_sweeps - 1 sweeps before it, as many as there are; those within 1 m of a
  // sweep's own sensor (|x| and |y|) are the vehicle's and left out.
  absl::StatusOr<NuscenesFrame> ReadKeyFrame(const std::string& sample) const;

  // All six, in the order of kNuscenesChannels. DATA_LOSS: the sample lacks one.
  absl::StatusOr<std::vector<NuscenesCamera>> Cameras(const std::string& sample) const;

  const NuscenesTables& tables() const { return tables_; }

 private:
  NuscenesDataset(NuscenesTables tables, std::vector<std::string> class_names, int num_sweeps);

  // What Digest() is over, of one sample.
  absl::StatusOr<std::string> DigestPart(const std::string& split, int32_t sample) const;
  std::vector<const NuscenesRecording*> SweepsOf(const NuscenesRecording& key) const;
  // The class of an annotation in class_names(); -1: none.
  int LabelOf(const NuscenesAnnotation& annotation) const;

  const NuscenesTables tables_;
  const std::vector<std::string> class_names_;
  const int num_sweeps_;
  // By detection class.
  std::array<int, kNuscenesClasses.size()> labels_;
};

// `data.root` is the data set's folder when that holds tables of one version, else the folder of the tables. fov_crop
// does not apply. NOT_FOUND: no tables, or several versions of them.
absl::StatusOr<std::unique_ptr<Dataset>> OpenNuscenesDataset(const v1::Data& data);

// Points of a LIDAR_TOP file, N x 5: x, y, z, intensity, ring. Those with a number that is not finite are left out, and
// counted if asked.
// DATA_LOSS: the file is empty or its size is not a multiple of 20 bytes.
absl::StatusOr<std::vector<float>> ReadNuscenesPoints(const std::string& path, size_t* not_finite = nullptr);

}  // namespace kd

#endif  // KD_DATA_NUSCENES_DATASET_H_
