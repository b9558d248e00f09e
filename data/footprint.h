// Rectangles on the ground that must not overlap.
#ifndef KD_DATA_FOOTPRINT_H_
#define KD_DATA_FOOTPRINT_H_

namespace kd {

// dx along the heading `yaw`, dy across.
struct Footprint {
  double x = 0, y = 0, dx = 0, dy = 0, yaw = 0;
};

bool Overlap(const Footprint& a, const Footprint& b);

}  // namespace kd

#endif  // KD_DATA_FOOTPRINT_H_
