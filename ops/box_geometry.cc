#include "ops/box_geometry.h"

#include <algorithm>

namespace kd {

std::array<std::array<float, 3>, 8> BoxCorners(const float* box) {
  constexpr float kSigns[4][2] = {{0.5f, 0.5f}, {0.5f, -0.5f}, {-0.5f, -0.5f}, {-0.5f, 0.5f}};
  const float c = std::cos(box[6]), s = std::sin(box[6]);
  std::array<std::array<float, 3>, 8> corners;
  for (int i = 0; i < 8; ++i) {
    const float u = kSigns[i % 4][0] * box[3], v = kSigns[i % 4][1] * box[4];
    corners[i] = {box[0] + c * u - s * v, box[1] + s * u + c * v, box[2] + (i < 4 ? -0.5f : 0.5f) * box[5]};
  }
  return corners;
}

std::array<float, 4> NearestAlignedBox(const float* box) {
  const float turn = std::abs(LimitPeriod(box[6], 0.5f, static_cast<float>(M_PI)));
  const bool swap = turn >= static_cast<float>(M_PI / 4);
  const float half_x = 0.5f * (swap ? box[4] : box[3]), half_y = 0.5f * (swap ? box[3] : box[4]);
  return {box[0] - half_x, box[1] - half_y, box[0] + half_x, box[1] + half_y};
}

float AlignedIou(const std::array<float, 4>& a, const std::array<float, 4>& b) {
  const float width = std::max(std::min(a[2], b[2]) - std::max(a[0], b[0]), 0.0f);
  const float height = std::max(std::min(a[3], b[3]) - std::max(a[1], b[1]), 0.0f);
  const float overlap = width * height;
  const float joint = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap;
  return overlap / std::max(joint, 1e-6f);
}

std::vector<int64_t> PointsInBoxes(const float* points, size_t num_points, const float* boxes, size_t num_boxes,
                                   float margin) {
  std::vector<int64_t> index(num_points, -1);
  std::vector<std::array<float, 2>> turns(num_boxes);
  for (size_t b = 0; b < num_boxes; ++b) turns[b] = {std::cos(boxes[b * 7 + 6]), std::sin(boxes[b * 7 + 6])};
  for (size_t p = 0; p < num_points; ++p) {
    const float* point = points + p * 3;
    for (size_t b = 0; b < num_boxes && index[p] < 0; ++b) {
      const float* box = boxes + b * 7;
      if (!(std::abs(point[2] - box[2]) <= box[5] / 2)) continue;
      const auto [c, s] = turns[b];
      const float x = point[0] - box[0], y = point[1] - box[1];
      if (std::abs(c * x + s * y) < box[3] / 2 + margin && std::abs(c * y - s * x) < box[4] / 2 + margin) {
        index[p] = static_cast<int64_t>(b);
      }
    }
  }
  return index;
}

void ResidualCoder::Encode(const float* box, const float* anchor, float* code) const {
  const auto size = [](float side) { return std::max(side, 1e-5f); };
  const float diagonal = std::sqrt(size(anchor[3]) * size(anchor[3]) + size(anchor[4]) * size(anchor[4]));
  code[0] = (box[0] - anchor[0]) / diagonal;
  code[1] = (box[1] - anchor[1]) / diagonal;
  code[2] = (box[2] - anchor[2]) / size(anchor[5]);
  for (int i = 3; i < 6; ++i) code[i] = std::log(size(box[i]) / size(anchor[i]));
  if (angle_by_sincos) {
    code[6] = std::cos(box[6]) - std::cos(anchor[6]);
    code[7] = std::sin(box[6]) - std::sin(anchor[6]);
  } else {
    code[6] = box[6] - anchor[6];
  }
}

void ResidualCoder::Decode(const float* code, const float* anchor, float* box) const {
  const float diagonal = std::sqrt(anchor[3] * anchor[3] + anchor[4] * anchor[4]);
  box[0] = code[0] * diagonal + anchor[0];
  box[1] = code[1] * diagonal + anchor[1];
  box[2] = code[2] * anchor[5] + anchor[2];
  for (int i = 3; i < 6; ++i) box[i] = std::exp(code[i]) * anchor[i];
  box[6] =
      angle_by_sincos ? std::atan2(code[7] + std::sin(anchor[6]), code[6] + std::cos(anchor[6])) : code[6] + anchor[6];
}

}  // namespace kd
