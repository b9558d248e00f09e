// A box's own axes: the origin in its centre, u along the heading, v to its left, w up; and what holds in them.
#ifndef KD_DATA_BOX_FRAME_H_
#define KD_DATA_BOX_FRAME_H_

#include <array>
#include <cmath>

#include "data/frame.h"

namespace kd {

class BoxFrame {
 public:
  explicit BoxFrame(const Box3d& box)
      : x_(box.x), y_(box.y), z_(box.z), cos_(std::cos(double{box.yaw})), sin_(std::sin(double{box.yaw})) {}

  // Of the first three numbers of a row.
  std::array<double, 3> ToBox(const float* p) const {
    const double x = p[0] - x_, y = p[1] - y_;
    return {cos_ * x + sin_ * y, -sin_ * x + cos_ * y, p[2] - z_};
  }
  // The way back.
  std::array<double, 3> FromBox(const float* uvw) const {
    return {x_ + cos_ * uvw[0] - sin_ * uvw[1], y_ + sin_ * uvw[0] + cos_ * uvw[1], z_ + uvw[2]};
  }

 private:
  const double x_, y_, z_, cos_, sin_;
};

// Faces included.
inline bool Holds(const Box3d& box, const std::array<double, 3>& uvw) {
  return std::abs(uvw[0]) <= box.dx / 2 && std::abs(uvw[1]) <= box.dy / 2 && std::abs(uvw[2]) <= box.dz / 2;
}

// Whether the rectangles of two boxes have an area in common, seen from above. An edge in common is none.
inline bool OverlapFromAbove(const Box3d& a, const Box3d& b) {
  const double x = double{b.x} - a.x, y = double{b.y} - a.y;
  // Rectangles are apart if and only if they are so along a side of one of them.
  const auto apart_along_a_side = [&](const Box3d& of, const Box3d& other) {
    const double c = std::cos(double{of.yaw}), s = std::sin(double{of.yaw});
    const double turn = double{other.yaw} - of.yaw;
    const double along = std::abs(std::cos(turn)), across = std::abs(std::sin(turn));
    return std::abs(c * x + s * y) >= (of.dx + other.dx * along + other.dy * across) / 2 ||
           std::abs(-s * x + c * y) >= (of.dy + other.dx * across + other.dy * along) / 2;
  };
  return !apart_along_a_side(a, b) && !apart_along_a_side(b, a);
}

}  // namespace kd

#endif  // KD_DATA_BOX_FRAME_H_
