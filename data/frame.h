// A LiDAR frame with its labels, in the sensor frame: x forward, y left, z up; metres and radians.
#ifndef KD_DATA_FRAME_H_
#define KD_DATA_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kd {

// (x, y, z) is the centre; dx along the heading, dy across, dz up; yaw 0 along +x, growing from +x to +y.
struct Box3d {
  float x = 0, y = 0, z = 0;
  float dx = 0, dy = 0, dz = 0;
  float yaw = 0;

  friend bool operator==(const Box3d&, const Box3d&) = default;
};

// A box with its class: an index into the data set's class names, from 0.
struct LabeledBox {
  Box3d box;
  int32_t label = 0;
  // Along x and y, m/s; 0 where the data set has none.
  float vx = 0, vy = 0;
  // LiDAR points on the object as the data set counts them, and its difficulty there; 0 where it tells neither.
  int32_t num_points = 0, difficulty = 0;

  friend bool operator==(const LabeledBox&, const LabeledBox&) = default;
};

// A detector's answer. `label` as in LabeledBox; score in [0, 1].
struct Detection {
  Box3d box;
  int32_t label = 0;
  float score = 0;
  // Along x and y, m/s; 0 of detectors that tell none.
  float vx = 0, vy = 0;
};

struct Frame {
  std::string sample;
  // Row-major N x num_features: x, y, z, intensity[, ...].
  std::vector<float> points;
  int num_features = 4;
  std::vector<LabeledBox> boxes;
  // Points of the file that are not in `points` because a number of theirs is not finite.
  size_t not_finite = 0;

  size_t num_points() const { return points.size() / static_cast<size_t>(num_features); }
};

}  // namespace kd

#endif  // KD_DATA_FRAME_H_
