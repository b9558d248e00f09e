// KITTI's calibration and the ways between LiDAR, camera and image (datasets.md sections 1.2, 1.3). Double precision.
#ifndef KD_DATA_KITTI_CALIB_H_
#define KD_DATA_KITTI_CALIB_H_

#include <array>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/frame.h"
#include "data/kitti_label.h"

namespace kd {

using Vec3 = std::array<double, 3>;

struct ImageSize {
  int width = 1242;
  int height = 375;
};

struct KittiCalib {
  std::array<double, 12> p2;              // 3x4: rectified camera 0 -> pixels of the left colour camera
  std::array<double, 9> r0_rect;          // 3x3
  std::array<double, 12> tr_velo_to_cam;  // 3x4

  Vec3 LidarToCamera(const Vec3& lidar) const;
  Vec3 CameraToLidar(const Vec3& camera) const;
  // Pixel (u, v) and depth of a point in the rectified camera frame.
  Vec3 CameraToImage(const Vec3& camera) const;
};

// INVALID_ARGUMENT: "<file>:<line>: ..." for a key that is missing or has the wrong number of values, and for a matrix
// that must be a rotation and is none.
absl::StatusOr<KittiCalib> ParseKittiCalib(absl::string_view text, absl::string_view file_name);
std::string FormatKittiCalib(const KittiCalib& calib);

// Centre, heading -rotation_y - pi/2 wrapped to [-pi, pi).
Box3d KittiToLidar(const KittiObject& object, const KittiCalib& calib);

// A label or result line for a LiDAR box: bottom centre, rotation_y, alpha and the 2D box, which is the projection of
// the part before the camera clipped to the image (all zero when nothing of the box is in the image).
KittiObject LidarToKitti(const Box3d& box, const std::string& type, double score, const KittiCalib& calib,
                         const ImageSize& image);

}  // namespace kd

#endif  // KD_DATA_KITTI_CALIB_H_
