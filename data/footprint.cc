#include "data/footprint.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace kd {
namespace {

std::array<std::array<double, 2>, 4> Corners(const Footprint& f) {
  const double c = std::cos(f.yaw), s = std::sin(f.yaw);
  std::array<std::array<double, 2>, 4> corners;
  for (int i = 0; i < 4; ++i) {
    const double u = (i == 0 || i == 3 ? 0.5 : -0.5) * f.dx, v = (i < 2 ? 0.5 : -0.5) * f.dy;
    corners[i] = {f.x + c * u - s * v, f.y + s * u + c * v};
  }
  return corners;
}

}  // namespace

// Separating axes of two rectangles.
bool Overlap(const Footprint& a, const Footprint& b) {
  const auto ca = Corners(a), cb = Corners(b);
  for (const double yaw : {a.yaw, a.yaw + M_PI / 2, b.yaw, b.yaw + M_PI / 2}) {
    const double ax = std::cos(yaw), ay = std::sin(yaw);
    double min_a = 1e9, max_a = -1e9, min_b = 1e9, max_b = -1e9;
    for (int i = 0; i < 4; ++i) {
      const double pa = ax * ca[i][0] + ay * ca[i][1], pb = ax * cb[i][0] + ay * cb[i][1];
      min_a = std::min(min_a, pa);
      max_a = std::max(max_a, pa);
      min_b = std::min(min_b, pb);
      max_b = std::max(max_b, pb);
    }
    if (max_a < min_b || max_b < min_a) return false;
  }
  return true;
}

}  // namespace kd
