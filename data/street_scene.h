// The solid world that the simulator's rays meet.
#ifndef KD_DATA_STREET_SCENE_H_
#define KD_DATA_STREET_SCENE_H_

#include <vector>

#include "base/rng.h"
#include "data/frame.h"
#include "data/primitive.h"

namespace kd {

struct StreetScene {
  // Ground height at (x, y): ground_z + slope_x * x + slope_y * y.
  double ground_z = -1.8, slope_x = 0, slope_y = 0;
  std::vector<Primitive> primitives;
  std::vector<LabeledBox> objects;

  double GroundAt(double x, double y) const { return ground_z + slope_x * x + slope_y * y; }
};

// Draws a scene (sim-benchmark: table of objects, layout and distractors in docs/benchmark.md).
StreetScene DrawStreetScene(CounterRng& rng);

}  // namespace kd

#endif  // KD_DATA_STREET_SCENE_H_
