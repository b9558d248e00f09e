#include "ops/point_query.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kd {
namespace {

float SquaredDistance(const float* a, const float* b) {
  const float dx = a[0] - b[0], dy = a[1] - b[1], dz = a[2] - b[2];
  return dx * dx + dy * dy + dz * dz;
}

// Fills the places that a search left with its first find, or -1.
void Pad(int64_t* rows, int found, int samples) { std::fill(rows + found, rows + samples, found == 0 ? -1 : rows[0]); }

}  // namespace

std::vector<int64_t> FarthestPoints(const float* points, size_t count, size_t samples) {
  std::vector<int64_t> chosen;
  std::vector<float> nearest(count, std::numeric_limits<float>::max());
  size_t next = 0;
  while (chosen.size() < std::min(count, samples)) {
    chosen.push_back(static_cast<int64_t>(next));
    const float* const last = points + next * 3;
    size_t farthest = 0;
    float best = -1;
    for (size_t i = 0; i < count; ++i) {
      nearest[i] = std::min(nearest[i], SquaredDistance(points + i * 3, last));
      if (nearest[i] > best) {
        best = nearest[i];
        farthest = i;
      }
    }
    next = farthest;
  }
  for (size_t i = 0; chosen.size() < samples; ++i) chosen.push_back(chosen[i]);
  return chosen;
}

std::vector<int64_t> BallQuery(const float* points, size_t count, const float* queries, size_t num_queries,
                               float radius, int samples) {
  std::vector<int64_t> rows(num_queries * samples);
  for (size_t q = 0; q < num_queries; ++q) {
    int64_t* const to = &rows[q * samples];
    int found = 0;
    for (size_t i = 0; i < count && found < samples; ++i) {
      if (SquaredDistance(points + i * 3, queries + q * 3) < radius * radius) to[found++] = static_cast<int64_t>(i);
    }
    Pad(to, found, samples);
  }
  return rows;
}

std::vector<int64_t> VoxelQuery(const SparseSites& sites, int32_t frame, const float* queries, size_t num_queries,
                                const VoxelQueryOptions& o) {
  std::vector<int64_t> rows(num_queries * o.samples);
  const auto centre = [&](int32_t cell, int axis) {
    return (static_cast<float>(cell) + 0.5f) * o.voxel_size[axis] * static_cast<float>(o.stride) + o.low[axis];
  };
  for (size_t q = 0; q < num_queries; ++q) {
    const float* const query = queries + q * 3;
    int64_t* const to = &rows[q * o.samples];
    int found = 0;
    std::array<int32_t, 3> cell{};  // x, y, z
    for (int axis = 0; axis < 3; ++axis) {
      // In double precision the quotient of two floats falls on the right side of every whole number.
      const double fine = std::floor(static_cast<double>(query[axis] - o.low[axis]) / o.voxel_size[axis]);
      cell[axis] = static_cast<int32_t>(std::floor(std::clamp(fine, -1e6, 1e6) / o.stride));
    }
    const auto [depth, height, width] = sites.shape();
    for (int32_t z = std::max(cell[2] - o.reach[0], 0);
         z <= std::min(cell[2] + o.reach[0], depth - 1) && found < o.samples; ++z) {
      for (int32_t y = std::max(cell[1] - o.reach[1], 0);
           y <= std::min(cell[1] + o.reach[1], height - 1) && found < o.samples; ++y) {
        const SparseSites::Range line = sites.Scanline(frame, z, y);
        const auto first =
            std::lower_bound(sites.sites().begin() + line.begin, sites.sites().begin() + line.end, cell[0] - o.reach[2],
                             [](const Site& site, int32_t x) { return site.x < x; });
        for (auto site = first;
             site < sites.sites().begin() + line.end && site->x <= cell[0] + o.reach[2] && found < o.samples; ++site) {
          const float at[3] = {centre(site->x, 0), centre(site->y, 1), centre(site->z, 2)};
          if (SquaredDistance(at, query) <= o.radius * o.radius) to[found++] = site - sites.sites().begin();
        }
      }
    }
    Pad(to, found, o.samples);
  }
  return rows;
}

}  // namespace kd
