// Exact overlap of upright boxes, seen from above and in 3D. A box is 7 floats: x, y, z (centre), dx, dy, dz, yaw.
// Polygons are clipped in double precision (the released CUDA kernels differ by up to 0.01, detectors.md section 5).
#ifndef KD_OPS_ROTATED_IOU_H_
#define KD_OPS_ROTATED_IOU_H_

#include <array>

namespace kd {

using Corner = std::array<double, 2>;

// Corners of the footprint: (+,+) (+,-) (-,-) (-,+) in units of half sizes.
std::array<Corner, 4> FootprintCorners(const float* box);

// Area of the intersection of two rectangles given by centre, sizes and angle; 0 when either has no area.
double RectangleIntersection(double ax, double ay, double adx, double ady, double ayaw, double bx, double by,
                             double bdx, double bdy, double byaw);

// Square metres. Boxes without area overlap nothing.
double BevOverlap(const float* a, const float* b);
// overlap / max(union, 1e-8).
double BevIou(const float* a, const float* b);
// Volume overlap / max(union, 1e-6).
double Iou3d(const float* a, const float* b);

}  // namespace kd

#endif  // KD_OPS_ROTATED_IOU_H_
