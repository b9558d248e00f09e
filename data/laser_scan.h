// What a turning laser scanner sees of a simulated world.
#ifndef KD_DATA_LASER_SCAN_H_
#define KD_DATA_LASER_SCAN_H_

#include <functional>
#include <vector>

#include "base/rng.h"
#include "data/primitive.h"
#include "data/rigid_transform.h"

namespace kd {

// Rows of beams, columns evenly spaced over a whole turn.
struct LaserPattern {
  // Radians above the laser's x-y plane, ascending.
  std::vector<double> inclinations;
  int columns = 0;
  // Of the first column, in the laser's own frame; the others follow clockwise.
  double first_azimuth = 0;
  // Half the angle around the laser's x axis that it looks at.
  double half_field = 4;
  double max_range = 70;

  int rows() const { return static_cast<int>(inclinations.size()); }
  double AzimuthOf(int column) const;
  // Unit vector in the laser's frame.
  Vec3 DirectionOf(int row, int column) const;
};

// The nearest two solids on a ray. -1: the ground; kNothing: none within reach.
struct RayHits {
  static constexpr int kNothing = -2;
  double first = 1e9, second = 1e9;  // Metres.
  int first_solid = kNothing, second_solid = kNothing;
};

struct LaserView {
  // rows x columns.
  std::vector<RayHits> rays;
  // By object: rays that would meet it if it stood alone.
  std::vector<int> rays_on_object;
};

// Casts the rays of all columns into solids on a ground at height 0. `laser_poses`: laser to world, one for each column
// or one for all, upright but for a few degrees. `num_objects` bounds Primitive::object.
LaserView CastRays(const std::vector<Primitive>& solids, const LaserPattern& pattern,
                   const std::vector<RigidTransform>& laser_poses, size_t num_objects);

struct Echo {
  // False: the pulse does not come back.
  bool returned = false;
  double range = 0, reflectivity = 0;
};

// One measurement, with the noise and losses of SimulateFrame(). Takes the same number of values whatever happens.
Echo Measure(CounterRng& rng, double range, double reflectivity, double max_range);

inline constexpr double kGroundReflectivity = 0.25;

// Moves rows of `columns` numbers to random places.
void ShuffleRows(CounterRng& rng, size_t columns, std::vector<float>& rows);

}  // namespace kd

#endif  // KD_DATA_LASER_SCAN_H_
