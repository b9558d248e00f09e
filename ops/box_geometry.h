// Small box arithmetic of detectors.md sections 0, 2 and 5. Boxes are 7 floats: x, y, z, dx, dy, dz, yaw.
#ifndef KD_OPS_BOX_GEOMETRY_H_
#define KD_OPS_BOX_GEOMETRY_H_

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace kd {

// value - floor(value / period + offset) * period.
inline float LimitPeriod(float value, float offset, float period) {
  return value - std::floor(value / period + offset) * period;
}

// Corners (+,+,-) (+,-,-) (-,-,-) (-,+,-) and the same four with +z, in units of half sizes.
std::array<std::array<float, 3>, 8> BoxCorners(const float* box);

// x_min, y_min, x_max, y_max of the axis-aligned box nearest to a turned one: sides swap from 45 degrees on.
std::array<float, 4> NearestAlignedBox(const float* box);
// IoU of two aligned boxes; the union is clamped at 1e-6.
float AlignedIou(const std::array<float, 4>& a, const std::array<float, 4>& b);

// For each of `num_points` points (rows of 3) the first box that holds it, or -1: |dz| <= half height,
// |dx|, |dy| < half size + margin.
std::vector<int64_t> PointsInBoxes(const float* points, size_t num_points, const float* boxes, size_t num_boxes,
                                   float margin = 1e-5f);

// Residual codes of a box against an anchor: 7 values, or 8 with the angle as cos and sin differences.
struct ResidualCoder {
  bool angle_by_sincos = false;
  int code_size() const { return angle_by_sincos ? 8 : 7; }
  void Encode(const float* box, const float* anchor, float* code) const;
  void Decode(const float* code, const float* anchor, float* box) const;
};

}  // namespace kd

#endif  // KD_OPS_BOX_GEOMETRY_H_
