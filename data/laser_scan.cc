#include "data/laser_scan.h"

#include <algorithm>
#include <cmath>

namespace kd {
namespace {

constexpr double kRangeNoise = 0.02;

// Rays that can meet a solid: columns first..last (counted on over the end of the turn) of rows low..high.
struct Window {
  int first = 0, last = -1, low = 0, high = -1;
};

Window WindowOf(const Box3d& box, const LaserPattern& pattern, const RigidTransform& world_to_laser, double travel) {
  const Vec3 centre = world_to_laser.Apply({box.x, box.y, box.z});
  const double distance = std::hypot(centre[0], centre[1]);
  // The laser leans, and it moves while it turns.
  const double lean = std::hypot(world_to_laser.rotation[6], world_to_laser.rotation[7]);
  const double radius = 0.5 * std::hypot(box.dx, box.dy) + lean * box.dz + travel + 0.01;
  if (distance - radius > pattern.max_range) return {};
  Window window{.first = 0, .last = pattern.columns - 1, .low = 0, .high = pattern.rows() - 1};
  if (distance <= radius + 0.1) return window;
  const double turns = (pattern.first_azimuth - std::atan2(centre[1], centre[0])) / (2 * M_PI);
  const double half = std::asin(radius / distance) / (2 * M_PI);
  window.first = static_cast<int>(std::floor((turns - half) * pattern.columns));
  window.last =
      std::min(static_cast<int>(std::ceil((turns + half) * pattern.columns)), window.first + pattern.columns - 1);
  const double rise = box.dz / 2 + lean * 2 * radius;
  const auto inclination = [&](double height) {
    return std::array<double, 2>{std::atan2(height, distance - radius), std::atan2(height, distance + radius)};
  };
  const auto bottom = inclination(centre[2] - rise), top = inclination(centre[2] + rise);
  const std::vector<double>& beams = pattern.inclinations;
  window.low = static_cast<int>(std::lower_bound(beams.begin(), beams.end(), std::min(bottom[0], bottom[1]) - 1e-6) -
                                beams.begin());
  window.high =
      static_cast<int>(std::upper_bound(beams.begin(), beams.end(), std::max(top[0], top[1]) + 1e-6) - beams.begin()) -
      1;
  return window;
}

void Insert(double range, int solid, RayHits& hits) {
  if (range < hits.first) {
    hits.second = hits.first;
    hits.second_solid = hits.first_solid;
    hits.first = range;
    hits.first_solid = solid;
  } else if (range < hits.second) {
    hits.second = range;
    hits.second_solid = solid;
  }
}

}  // namespace

double LaserPattern::AzimuthOf(int column) const { return first_azimuth - 2 * M_PI * column / columns; }

Vec3 LaserPattern::DirectionOf(int row, int column) const {
  const double c = std::cos(inclinations[row]), azimuth = AzimuthOf(column);
  return {c * std::cos(azimuth), c * std::sin(azimuth), std::sin(inclinations[row])};
}

LaserView CastRays(const std::vector<Primitive>& solids, const LaserPattern& pattern,
                   const std::vector<RigidTransform>& laser_poses, size_t num_objects) {
  const auto pose = [&](int column) -> const RigidTransform& {
    return laser_poses.size() == 1 ? laser_poses[0] : laser_poses[column];
  };
  const int rows = pattern.rows(), columns = pattern.columns;
  LaserView view;
  view.rays.resize(static_cast<size_t>(rows) * columns);
  view.rays_on_object.resize(num_objects);
  std::vector<std::array<double, 2>> beams;
  for (const double inclination : pattern.inclinations) beams.push_back({std::cos(inclination), std::sin(inclination)});
  std::vector<Vec3> directions(view.rays.size());
  std::vector<bool> looked_at(columns);
  for (int column = 0; column < columns; ++column) {
    const double azimuth = pattern.AzimuthOf(column);
    looked_at[column] = std::abs(std::remainder(azimuth, 2 * M_PI)) <= pattern.half_field;
    if (!looked_at[column]) continue;
    const double c = std::cos(azimuth), s = std::sin(azimuth);
    const double height = pose(column).translation[2];
    for (int row = 0; row < rows; ++row) {
      const size_t at = static_cast<size_t>(row) * columns + column;
      directions[at] = pose(column).Rotate({beams[row][0] * c, beams[row][0] * s, beams[row][1]});
      if (directions[at][2] > -1e-9) continue;
      const double range = -height / directions[at][2];
      if (range <= pattern.max_range) Insert(range, -1, view.rays[at]);
    }
  }
  const Vec3& start = laser_poses.front().translation;
  const Vec3& end = laser_poses.back().translation;
  const RigidTransform& middle = laser_poses[laser_poses.size() / 2];
  const double travel = std::hypot(end[0] - start[0], end[1] - start[1]);
  const RigidTransform world_to_laser = middle.Inverse();
  // The object that a ray was counted for last.
  std::vector<int> counted(view.rays.size(), -1);
  for (size_t i = 0; i < solids.size(); ++i) {
    const RayTarget target(solids[i]);
    const Window window = WindowOf(solids[i].box, pattern, world_to_laser, travel);
    for (int turned = window.first; turned <= window.last; ++turned) {
      const int column = ((turned % columns) + columns) % columns;
      if (!looked_at[column]) continue;
      for (int row = window.low; row <= window.high; ++row) {
        const size_t at = static_cast<size_t>(row) * columns + column;
        const double range = target.Hit(pose(column).translation, directions[at]);
        if (range < 0 || range > pattern.max_range) continue;
        Insert(range, static_cast<int>(i), view.rays[at]);
        const int object = solids[i].object;
        if (object < 0 || counted[at] == object) continue;
        counted[at] = object;
        ++view.rays_on_object[object];
      }
    }
  }
  return view;
}

Echo Measure(CounterRng& rng, double range, double reflectivity, double max_range) {
  const double drop = rng.Uniform(), range_noise = rng.Normal(), intensity_noise = rng.Normal();
  const double far = range / max_range;
  const double lost = 0.05 + 0.25 * far * far + (reflectivity < 0.08 ? 0.25 : 0);
  return {.returned = range <= max_range && drop >= lost,
          .range = range + kRangeNoise * range_noise,
          .reflectivity = std::max(reflectivity * (1 + 0.15 * intensity_noise), 0.0)};
}

void ShuffleRows(CounterRng& rng, size_t columns, std::vector<float>& rows) {
  for (size_t i = rows.size() / columns; i > 1; --i) {
    const size_t j = rng.Below(i);
    if (j + 1 < i) std::swap_ranges(&rows[(i - 1) * columns], &rows[(i - 1) * columns] + columns, &rows[j * columns]);
  }
}

}  // namespace kd
