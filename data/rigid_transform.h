// Rotation and translation in double: positions on a map are thousands of metres, where a float32 loses millimetres.
#ifndef KD_DATA_RIGID_TRANSFORM_H_
#define KD_DATA_RIGID_TRANSFORM_H_

#include <array>

#include "data/kitti_calib.h"

namespace kd {

// Maps x to rotation x + translation. Row-major; the identity unless told.
struct RigidTransform {
  std::array<double, 9> rotation{1, 0, 0, 0, 1, 0, 0, 0, 1};
  Vec3 translation{};

  Vec3 Rotate(const Vec3& v) const;
  Vec3 Apply(const Vec3& point) const;
  RigidTransform Inverse() const;
  // Heading of the turned x axis, in [-pi, pi].
  double Yaw() const;
};

// First `right`, then `left`.
RigidTransform operator*(const RigidTransform& left, const RigidTransform& right);

// Rotation matrix of the quaternion w, x, y, z of any length but 0.
std::array<double, 9> RotationOfQuaternion(const std::array<double, 4>& wxyz);
// The inverse of that: of length 1, w not below 0.
std::array<double, 4> QuaternionOfRotation(const std::array<double, 9>& rotation);

// Turns about z by `yaw` after y by `pitch` after x by `roll`, right-handed; and back, for a pitch within +-pi/2.
std::array<double, 9> RotationOfAngles(double roll, double pitch, double yaw);
struct Angles {
  double roll = 0, pitch = 0, yaw = 0;
};
Angles AnglesOfRotation(const std::array<double, 9>& rotation);

}  // namespace kd

#endif  // KD_DATA_RIGID_TRANSFORM_H_
