// A street along which a vehicle drives while others move: the world of simulated sequences.
#ifndef KD_DATA_DRIVE_SCENE_H_
#define KD_DATA_DRIVE_SCENE_H_

#include <vector>

#include "base/rng.h"
#include "data/object_shapes.h"
#include "data/primitive.h"
#include "data/rigid_transform.h"

namespace kd {

enum class DriveKind {
  kCar,
  kTruck,
  kBus,
  kTrailer,
  kConstructionVehicle,
  kPedestrian,
  kMotorcyclist,
  kCyclist,
  kBicycle,  // Without a rider.
  kTrafficCone,
  kBarrier
};
inline constexpr int kDriveKinds = 11;

struct DriveObject {
  DriveKind kind = DriveKind::kCar;
  // All of the object lies within, at least kBoxMargin from every face but the lowest.
  ObjectSize size;
  // At second 0. It goes straight on, along its heading, at `speed` m/s.
  double x = 0, y = 0, yaw = 0, speed = 0;
  // Stands in a lane, not at the kerb.
  bool queues = false;
  ObjectParts parts;
  Rgb color{};

  double XAt(double seconds) const;
  double YAt(double seconds) const;
  // Centre of the box; its axes are length, width and height.
  RigidTransform BoxAt(double seconds) const;
};

// Range noise seldom leads out of a box.
inline constexpr double kBoxMargin = 0.04;

// Street coordinates: x along the street, y to its left, z up, the ground at 0; metres.
struct DriveScene {
  double seconds = 0;
  // Facades, poles, shrubs and other things without a label.
  std::vector<Primitive> fixed;
  std::vector<DriveObject> objects;
  double half_width = 5;
  // To the coordinates of a map, level with the ground.
  RigidTransform street_to_map;

  // The vehicle's frame is x forward, y left, z up; its origin is on the ground, at height 0. It is tilted a little, as
  // load and brakes have it.
  RigidTransform VehicleAt(double time) const;
  // Solids within `radius` of a place, on the ground. Those of an object stand together and bear its index.
  std::vector<Primitive> SolidsAt(double time, double x, double y, double radius) const;

  // What VehicleAt() does.
  double vehicle_speed = 0, vehicle_y = 0, weave = 0, pitch = 0, roll = 0;
};

// Points that lie in a box of `size` or on its faces, all in one frame.
int PointsInBox(const std::vector<Vec3>& points, const RigidTransform& box, const ObjectSize& size);

// A scene of `seconds`, with the densities a metre of DrawStreetScene, on all sides. Nothing drives into anything.
DriveScene DrawDriveScene(CounterRng& rng, double seconds);

}  // namespace kd

#endif  // KD_DATA_DRIVE_SCENE_H_
