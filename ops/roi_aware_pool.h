// Points of boxes by the cells of each box, and what a cell's points have in common (detectors.md section 7.4).
#ifndef KD_OPS_ROI_AWARE_POOL_H_
#define KD_OPS_ROI_AWARE_POOL_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ops/parallel.h"

namespace kd {

// Equal cells along a box's own axes.
struct RoiGrid {
  int32_t cells = 12;  // along each axis
  // Later points of a cell are left out. OpenPCDet's MAX_POINTS_PER_VOXEL counts one place more, which holds the number
  // of the points.
  int32_t max_points = 127;
};

struct RoiCell {
  int32_t box = 0, x = 0, y = 0, z = 0;
  // Of RoiCells::points.
  size_t begin = 0, end = 0;
};

struct RoiCells {
  // Those that hold points, by box, x, y, z.
  std::vector<RoiCell> cells;
  // Rows of points, ascending in each cell.
  std::vector<int64_t> points;
};

// `points` are rows of 3 floats, `boxes` rows of 7: x, y, z (centre), dx, dy, dz, yaw. Along its own axes a box
// holds points with |z| <= dz / 2, |x| < dx / 2 + 1e-5 m and |y| < dy / 2 + 1e-5 m; a point may lie in several boxes. A
// box with NaN holds nothing, one without size what lies at its centre. Each box looks at each point.
RoiCells SortIntoRoiCells(const float* points, size_t num_points, const float* boxes, size_t num_boxes,
                          const RoiGrid& grid, ParallelFor parallel);

// Of each cell's rows of `features` (rows of `channels` floats): cells x channels.
std::vector<float> AverageOfRoiCells(const RoiCells& cells, const float* features, size_t channels,
                                     ParallelFor parallel);
// NaN is never the largest; a channel without any number is 0.
std::vector<float> MaximumOfRoiCells(const RoiCells& cells, const float* features, size_t channels,
                                     ParallelFor parallel);

}  // namespace kd

#endif  // KD_OPS_ROI_AWARE_POOL_H_
