#include "ops/rotated_iou.h"

#include <algorithm>
#include <cmath>

namespace kd {
namespace {

std::array<Corner, 4> CornersOf(double x, double y, double dx, double dy, double yaw) {
  const double c = std::cos(yaw), s = std::sin(yaw);
  constexpr double kSigns[4][2] = {{0.5, 0.5}, {0.5, -0.5}, {-0.5, -0.5}, {-0.5, 0.5}};
  std::array<Corner, 4> corners;
  for (int i = 0; i < 4; ++i) {
    const double u = kSigns[i][0] * dx, v = kSigns[i][1] * dy;
    corners[i] = {x + c * u - s * v, y + s * u + c * v};
  }
  return corners;
}

// A convex polygon of at most 8 corners: a rectangle cut by four half planes.
struct Polygon {
  std::array<Corner, 12> corners;
  int size = 0;
  void Add(const Corner& corner) { corners[size++] = corner; }
};

// Keeps the part to the right of the line from `from` to `to` (the corners above run clockwise).
Polygon Clip(const Polygon& polygon, const Corner& from, const Corner& to) {
  const double ex = to[0] - from[0], ey = to[1] - from[1];
  const auto side = [&](const Corner& p) { return ey * (p[0] - from[0]) - ex * (p[1] - from[1]); };
  Polygon result;
  for (int i = 0; i < polygon.size; ++i) {
    const Corner& a = polygon.corners[i];
    const Corner& b = polygon.corners[(i + 1) % polygon.size];
    const double sa = side(a), sb = side(b);
    if (sa >= 0) result.Add(a);
    if ((sa > 0 && sb < 0) || (sa < 0 && sb > 0)) {
      const double t = sa / (sa - sb);
      result.Add({a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])});
    }
  }
  return result;
}

double Area(const Polygon& polygon) {
  double twice = 0;
  for (int i = 0; i < polygon.size; ++i) {
    const Corner& a = polygon.corners[i];
    const Corner& b = polygon.corners[(i + 1) % polygon.size];
    twice += a[0] * b[1] - a[1] * b[0];
  }
  return std::abs(twice) / 2;
}

}  // namespace

std::array<Corner, 4> FootprintCorners(const float* box) { return CornersOf(box[0], box[1], box[3], box[4], box[6]); }

double RectangleIntersection(double ax, double ay, double adx, double ady, double ayaw, double bx, double by,
                             double bdx, double bdy, double byaw) {
  if (!(adx > 0 && ady > 0 && bdx > 0 && bdy > 0)) return 0;
  const double reach = 0.5 * (std::hypot(adx, ady) + std::hypot(bdx, bdy));
  if (!(std::hypot(ax - bx, ay - by) < reach)) return 0;
  // Relative coordinates keep the precision far from the origin.
  const std::array<Corner, 4> ca = CornersOf(0, 0, adx, ady, ayaw);
  const std::array<Corner, 4> cb = CornersOf(bx - ax, by - ay, bdx, bdy, byaw);
  Polygon polygon;
  for (const Corner& corner : ca) polygon.Add(corner);
  for (int i = 0; i < 4 && polygon.size > 0; ++i) polygon = Clip(polygon, cb[i], cb[(i + 1) % 4]);
  return polygon.size < 3 ? 0 : Area(polygon);
}

double BevOverlap(const float* a, const float* b) {
  return RectangleIntersection(a[0], a[1], a[3], a[4], a[6], b[0], b[1], b[3], b[4], b[6]);
}

double BevIou(const float* a, const float* b) {
  const double overlap = BevOverlap(a, b);
  const double joint = static_cast<double>(a[3]) * a[4] + static_cast<double>(b[3]) * b[4] - overlap;
  return overlap / std::max(joint, 1e-8);
}

double Iou3d(const float* a, const float* b) {
  const double top = std::min(a[2] + 0.5 * a[5], b[2] + 0.5 * b[5]);
  const double bottom = std::max(a[2] - 0.5 * a[5], b[2] - 0.5 * b[5]);
  if (top <= bottom) return 0;
  const double overlap = BevOverlap(a, b) * (top - bottom);
  const double joint = static_cast<double>(a[3]) * a[4] * a[5] + static_cast<double>(b[3]) * b[4] * b[5] - overlap;
  return overlap / std::max(joint, 1e-6);
}

}  // namespace kd
