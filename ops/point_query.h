// Neighbour searches of two-stage detectors (detectors.md sections 7.2 and 7.3). Points are rows of 3 floats.
#ifndef KD_OPS_POINT_QUERY_H_
#define KD_OPS_POINT_QUERY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/sparse_sites.h"

namespace kd {

// Rows of `samples` points, each the farthest from all chosen before it, starting with row 0 (the first of equals).
// With fewer points than samples they are repeated in order. `count` must be at least 1.
std::vector<int64_t> FarthestPoints(const float* points, size_t count, size_t samples);

// For each query the rows of the first `samples` points (in their order) nearer than `radius`, padded with the first of
// them; -1 everywhere when there is none.
std::vector<int64_t> BallQuery(const float* points, size_t count, const float* queries, size_t num_queries,
                               float radius, int samples);

struct VoxelQueryOptions {
  // x_min, y_min, z_min and voxel size of the finest grid, along x, y, z.
  std::array<float, 3> low{}, voxel_size{};
  // Cells of the finest grid per cell of `sites`.
  int32_t stride = 1;
  // Cells searched to either side, along z, y, x.
  std::array<int32_t, 3> reach{4, 4, 4};
  float radius = 0;
  int samples = 16;
};
// For each query the rows of the first `samples` sites of `frame` whose centre lies within `radius`, scanning the cells
// around the query by z, then y, then x; padded as above.
std::vector<int64_t> VoxelQuery(const SparseSites& sites, int32_t frame, const float* queries, size_t num_queries,
                                const VoxelQueryOptions& options);

}  // namespace kd

#endif  // KD_OPS_POINT_QUERY_H_
