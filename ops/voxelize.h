// Hard voxelisation (detectors.md section 2.1).
#ifndef KD_OPS_VOXELIZE_H_
#define KD_OPS_VOXELIZE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/parallel.h"

namespace kd {

struct VoxelGrid {
  // x_min, y_min, z_min, x_max, y_max, z_max.
  std::array<float, 6> range;
  std::array<float, 3> voxel_size;
  int max_points_per_voxel;
  int max_voxels;

  // Cells along x, y, z: round((max - min) / voxel).
  std::array<int, 3> Cells() const;
};

// Points that follow one another, all kept by one voxel: the row of the first, the voxel, the first one's place there.
struct KeptRun {
  KeptRun() {}  // Without zeros: they would cost as much as what is written over them.
  int32_t row, voxel, place, count;
};

// The voxels of a frame and the points that they keep.
struct Voxels {
  // V x 3: z, y, x.
  std::vector<int32_t> coords;
  // V.
  std::vector<int32_t> num_points;
  // In the order of the points.
  std::vector<KeptRun> kept;

  size_t size() const { return num_points.size(); }
};

// Visits the points in order: a point opens a new cell while fewer than max_voxels exist and is kept while its cell has
// room. Cells are numbered by their first point. A point on the upper border, or with a NaN coordinate, is outside.
// `points` is num_points x num_features, row-major. Arithmetic in float32. The grid has less than 2^32 cells.
Voxels Voxelize(const float* points, size_t num_points, int num_features, const VoxelGrid& grid,
                ParallelFor parallel = SerialFor);

// Writes the voxels' points: V x max_points_per_voxel x num_features, zero padded.
void CopyVoxelPoints(const Voxels& voxels, const float* points, int num_features, int max_points_per_voxel, float* out,
                     ParallelFor parallel = SerialFor);

}  // namespace kd

#endif  // KD_OPS_VOXELIZE_H_
