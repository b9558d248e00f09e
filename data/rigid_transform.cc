#include "data/rigid_transform.h"

#include <algorithm>
#include <cmath>

namespace kd {

Vec3 RigidTransform::Rotate(const Vec3& v) const {
  const std::array<double, 9>& r = rotation;
  return {r[0] * v[0] + r[1] * v[1] + r[2] * v[2], r[3] * v[0] + r[4] * v[1] + r[5] * v[2],
          r[6] * v[0] + r[7] * v[1] + r[8] * v[2]};
}

Vec3 RigidTransform::Apply(const Vec3& point) const {
  const Vec3 turned = Rotate(point);
  return {turned[0] + translation[0], turned[1] + translation[1], turned[2] + translation[2]};
}

RigidTransform RigidTransform::Inverse() const {
  const std::array<double, 9>& r = rotation;
  RigidTransform inverse{.rotation = {r[0], r[3], r[6], r[1], r[4], r[7], r[2], r[5], r[8]}};
  const Vec3 moved = inverse.Rotate(translation);
  inverse.translation = {-moved[0], -moved[1], -moved[2]};
  return inverse;
}

double RigidTransform::Yaw() const { return std::atan2(rotation[3], rotation[0]); }

RigidTransform operator*(const RigidTransform& left, const RigidTransform& right) {
  RigidTransform product;
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) {
      double sum = 0;
      for (int k = 0; k < 3; ++k) sum += left.rotation[3 * row + k] * right.rotation[3 * k + column];
      product.rotation[3 * row + column] = sum;
    }
  }
  product.translation = left.Apply(right.translation);
  return product;
}

std::array<double, 9> RotationOfQuaternion(const std::array<double, 4>& wxyz) {
  const double length = std::sqrt(wxyz[0] * wxyz[0] + wxyz[1] * wxyz[1] + wxyz[2] * wxyz[2] + wxyz[3] * wxyz[3]);
  const double w = wxyz[0] / length, x = wxyz[1] / length, y = wxyz[2] / length, z = wxyz[3] / length;
  return {1 - 2 * (y * y + z * z), 2 * (x * y - w * z),     2 * (x * z + w * y),
          2 * (x * y + w * z),     1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
          2 * (x * z - w * y),     2 * (y * z + w * x),     1 - 2 * (x * x + y * y)};
}

std::array<double, 4> QuaternionOfRotation(const std::array<double, 9>& r) {
  // Of four ways the one whose divisor is largest.
  const double trace = r[0] + r[4] + r[8];
  std::array<double, 4> q;
  if (trace >= std::max({r[0], r[4], r[8]})) {
    q = {1 + trace, r[7] - r[5], r[2] - r[6], r[3] - r[1]};
  } else if (r[0] >= std::max(r[4], r[8])) {
    q = {r[7] - r[5], 1 + r[0] - r[4] - r[8], r[1] + r[3], r[2] + r[6]};
  } else if (r[4] >= r[8]) {
    q = {r[2] - r[6], r[1] + r[3], 1 - r[0] + r[4] - r[8], r[5] + r[7]};
  } else {
    q = {r[3] - r[1], r[2] + r[6], r[5] + r[7], 1 - r[0] - r[4] + r[8]};
  }
  const double length = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  const double divisor = q[0] < 0 ? -length : length;
  for (double& v : q) v /= divisor;
  return q;
}

std::array<double, 9> RotationOfAngles(double roll, double pitch, double yaw) {
  const double cr = std::cos(roll), sr = std::sin(roll), cp = std::cos(pitch), sp = std::sin(pitch);
  const double cy = std::cos(yaw), sy = std::sin(yaw);
  return {cy * cp,
          cy * sp * sr - sy * cr,
          cy * sp * cr + sy * sr,
          sy * cp,
          sy * sp * sr + cy * cr,
          sy * sp * cr - cy * sr,
          -sp,
          cp * sr,
          cp * cr};
}

Angles AnglesOfRotation(const std::array<double, 9>& r) {
  return {
      .roll = std::atan2(r[7], r[8]), .pitch = -std::asin(std::clamp(r[6], -1.0, 1.0)), .yaw = std::atan2(r[3], r[0])};
}

}  // namespace kd
