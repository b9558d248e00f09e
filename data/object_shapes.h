// Parts that make simulated objects look like what they are.
#ifndef KD_DATA_OBJECT_SHAPES_H_
#define KD_DATA_OBJECT_SHAPES_H_

#include <vector>

#include "data/primitive.h"

namespace kd {

// A primitive in its object's axes: (u, v) its centre along and across the heading, dx and dy its sizes along them, from
// `low` to `high` above the ground.
struct ObjectPart {
  Primitive::Shape shape = Primitive::Shape::kBox;
  double u = 0, v = 0, dx = 0, dy = 0, low = 0, high = 0;
  double reflectivity = 0.5;
  Surface surface = Surface::kPaint;
};
using ObjectParts = std::vector<ObjectPart>;

// Length, width and height: the parts stay within.
struct ObjectSize {
  double l = 0, w = 0, h = 0;
};

// `cabin_shift`: of the cabin towards the front, in lengths.
ObjectParts CarParts(const ObjectSize& size, double paint, double cabin_shift);
// A box of the cargo behind a cab.
ObjectParts TruckParts(const ObjectSize& size, double paint);
ObjectParts BusParts(const ObjectSize& size, double paint);
ObjectParts TrailerParts(const ObjectSize& size, double paint);
// An excavator: tracks, cab, arm.
ObjectParts ConstructionVehicleParts(const ObjectSize& size, double paint);
// `stride`: of the left leg before the middle, metres.
ObjectParts PersonParts(const ObjectSize& size, double clothes, double stride);
// At least 1.2 m high.
ObjectParts BicycleParts(const ObjectSize& size, double metal);
ObjectParts CyclistParts(const ObjectSize& size, double clothes, double metal);
ObjectParts MotorcyclistParts(const ObjectSize& size, double clothes, double metal);
ObjectParts TrafficConeParts(const ObjectSize& size);
ObjectParts BarrierParts(const ObjectSize& size, double paint);

// A part of the object with its centre over (x, y), heading `yaw`, on ground of height `ground`.
Primitive PlacePart(const ObjectPart& part, double x, double y, double yaw, double ground, int object);

}  // namespace kd

#endif  // KD_DATA_OBJECT_SHAPES_H_
