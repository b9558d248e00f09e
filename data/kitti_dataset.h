// KITTI 3D object folders (datasets.md section 1.1).
#ifndef KD_DATA_KITTI_DATASET_H_
#define KD_DATA_KITTI_DATASET_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/kitti_calib.h"

namespace kd {

absl::StatusOr<std::unique_ptr<Dataset>> OpenKittiDataset(const v1::Data& data, BoxSizes sizes = BoxSizes::kPossible);

// Calibration and image size of one frame of ROOT/training. The size is 1242 x 375 when the frame has no image.
absl::StatusOr<KittiCalib> ReadKittiCalib(const std::string& root, const std::string& sample);
absl::StatusOr<ImageSize> ReadKittiImageSize(const std::string& root, const std::string& sample);

// Points of a velodyne file, N x 4. Points with a coordinate that is not finite are left out, and counted if asked.
// DATA_LOSS: the file is empty or its size is not a multiple of 16 bytes.
absl::StatusOr<std::vector<float>> ReadKittiPoints(const std::string& path, size_t* not_finite = nullptr);

}  // namespace kd

#endif  // KD_DATA_KITTI_DATASET_H_
