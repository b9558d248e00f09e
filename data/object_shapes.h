// Parts that make simulated objects look like what they are.
#ifndef KD_DATA_OBJECT_SHAPES_H_
#define KD_DATA_OBJECT_SHAPES_H_

#include <vector>

#include "data/primitive.h"

namespace kd {

// A primitive in its object's axes: (u, v) its centre along and across the heading, dx and dy its sizes along them,
// from `low` to `high` above the ground.
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

// Things that are no objects but have their sizes, so that only shape tells them apart: `mean` in 40 m of street.
struct Distractor {
  double mean;
  Primitive::Shape shape;
  double min_l, max_l, min_w, max_w, min_h, max_h;
  Surface surface;
};
inline constexpr Distractor kDistractors[] = {
    // Car-sized boxes.
    {2.5, Primitive::Shape::kBox, 3.6, 5.0, 1.6, 2.1, 1.2, 2.0, Surface::kFacade},
    // Hedges.
    {2, Primitive::Shape::kBox, 2.0, 5.0, 0.6, 1.0, 0.9, 1.5, Surface::kLeaves},
    // Poles.
    {4, Primitive::Shape::kCylinder, 0.12, 0.3, 0.12, 0.3, 3.0, 6.0, Surface::kDark},
    // Bollards and columns.
    {4, Primitive::Shape::kCylinder, 0.3, 0.7, 0.3, 0.7, 0.9, 1.9, Surface::kFacade},
    // Bins.
    {3, Primitive::Shape::kBox, 0.5, 0.8, 0.5, 0.8, 1.0, 1.4, Surface::kDark},
    // Shrubs.
    {3, Primitive::Shape::kCylinder, 0.6, 1.4, 0.6, 1.4, 0.9, 1.9, Surface::kLeaves},
    // Cyclist-sized boxes and bushes.
    {2.5, Primitive::Shape::kBox, 1.5, 2.2, 0.5, 0.9, 1.3, 1.8, Surface::kLeaves},
};

// A part of the object with its centre over (x, y), heading `yaw`, on ground of height `ground`.
Primitive PlacePart(const ObjectPart& part, double x, double y, double yaw, double ground, int object);

}  // namespace kd

#endif  // KD_DATA_OBJECT_SHAPES_H_
