// A box's own axes: the origin in its centre, u along the heading, v to its left, w up.
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

 private:
  const double x_, y_, z_, cos_, sin_;
};

// Faces included.
inline bool Holds(const Box3d& box, const std::array<double, 3>& uvw) {
  return std::abs(uvw[0]) <= box.dx / 2 && std::abs(uvw[1]) <= box.dy / 2 && std::abs(uvw[2]) <= box.dz / 2;
}

}  // namespace kd

#endif  // KD_DATA_BOX_FRAME_H_
