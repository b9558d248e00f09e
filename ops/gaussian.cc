#include "ops/gaussian.h"

#include <algorithm>
#include <cmath>

namespace kd {

float GaussianRadius(float height, float width, float min_overlap) {
  const float sum = height + width, area = height * width;
  const float c1 = area * (1 - min_overlap) / (1 + min_overlap);
  const float r1 = (sum + std::sqrt(sum * sum - 4 * c1)) / 2;
  const float c2 = (1 - min_overlap) * area;
  const float r2 = (2 * sum + std::sqrt(4 * sum * sum - 16 * c2)) / 2;
  const float b3 = -2 * min_overlap * sum;
  const float r3 = (b3 + std::sqrt(b3 * b3 + 16 * min_overlap * (1 - min_overlap) * area)) / 2;
  return std::min({r1, r2, r3});
}

void DrawGaussian(float* heatmap, int height, int width, int x, int y, int radius) {
  const double sigma = (2 * radius + 1) / 6.0;
  for (int j = std::max(y - radius, 0); j <= std::min(y + radius, height - 1); ++j) {
    for (int i = std::max(x - radius, 0); i <= std::min(x + radius, width - 1); ++i) {
      const double square = (i - x) * (i - x) + (j - y) * (j - y);
      float& cell = heatmap[static_cast<long>(j) * width + i];
      cell = std::max(cell, static_cast<float>(std::exp(-square / (2 * sigma * sigma))));
    }
  }
}

}  // namespace kd
