#include "data/primitive.h"

#include <algorithm>
#include <cmath>

namespace kd {

RayTarget::RayTarget(const Primitive& primitive)
    : box_(primitive.shape == Primitive::Shape::kBox),
      x_(primitive.box.x),
      y_(primitive.box.y),
      z_(primitive.box.z),
      // Of a float: simulated KITTI frames must stay what they are.
      cos_(std::cos(primitive.box.yaw)),
      sin_(std::sin(primitive.box.yaw)),
      half_x_(primitive.box.dx / 2),
      half_y_(primitive.box.dy / 2),
      half_z_(primitive.box.dz / 2) {}

Vec3 RayTarget::ToOwn(const Vec3& point) const {
  const double x = point[0] - x_, y = point[1] - y_;
  return {cos_ * x + sin_ * y, -sin_ * x + cos_ * y, point[2] - z_};
}

double RayTarget::Hit(const Vec3& origin, const Vec3& direction) const {
  const auto [ox, oy, oz] = ToOwn(origin);
  const double ux = cos_ * direction[0] + sin_ * direction[1], uy = -sin_ * direction[0] + cos_ * direction[1];
  double near = 0, far = 1e9;
  const auto clip = [&](double o, double u, double half) {
    if (std::abs(u) < 1e-12) return std::abs(o) <= half;
    const double t1 = (-half - o) / u, t2 = (half - o) / u;
    near = std::max(near, std::min(t1, t2));
    far = std::min(far, std::max(t1, t2));
    return near <= far;
  };
  if (!clip(oz, direction[2], half_z_)) return -1;
  if (box_) {
    if (!clip(ox, ux, half_x_) || !clip(oy, uy, half_y_)) return -1;
  } else {
    const double rx = half_x_, ry = half_y_;
    const double a = ux * ux / (rx * rx) + uy * uy / (ry * ry);
    const double half_b = ox * ux / (rx * rx) + oy * uy / (ry * ry);
    const double discriminant = half_b * half_b - a * (ox * ox / (rx * rx) + oy * oy / (ry * ry) - 1);
    if (discriminant < 0 || a < 1e-12) return -1;
    const double root = std::sqrt(discriminant);
    near = std::max(near, (-half_b - root) / a);
    far = std::min(far, (-half_b + root) / a);
    if (near > far) return -1;
  }
  return near > 1e-6 ? near : -1;
}

Vec3 RayTarget::NormalAt(const Vec3& point) const {
  const auto [u, v, w] = ToOwn(point);
  // How far inside each pair of faces, in shares of the half size.
  const double up = std::abs(w) / half_z_;
  double nu = u / (half_x_ * half_x_), nv = v / (half_y_ * half_y_);
  const double side =
      box_ ? std::max(std::abs(u) / half_x_, std::abs(v) / half_y_) : std::hypot(u / half_x_, v / half_y_);
  if (up > side) return {0, 0, w < 0 ? -1.0 : 1.0};
  if (box_) {
    const bool along = std::abs(u) / half_x_ > std::abs(v) / half_y_;
    nu = along ? std::copysign(1, u) : 0;
    nv = along ? 0 : std::copysign(1, v);
  }
  const double length = std::max(std::hypot(nu, nv), 1e-9);
  return {(cos_ * nu - sin_ * nv) / length, (sin_ * nu + cos_ * nv) / length, 0};
}

}  // namespace kd
