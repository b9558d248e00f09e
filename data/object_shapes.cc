#include "data/object_shapes.h"

#include <algorithm>
#include <cmath>

namespace kd {
namespace {

constexpr auto kBox = Primitive::Shape::kBox;
constexpr auto kCylinder = Primitive::Shape::kCylinder;
constexpr double kGlassReflectivity = 0.05, kTyreReflectivity = 0.1, kSkinReflectivity = 0.4;

void Append(const ObjectParts& more, ObjectParts& parts) { parts.insert(parts.end(), more.begin(), more.end()); }

// An axle's wheels as one box.
ObjectPart Wheels(const ObjectSize& size, double u, double length, double height) {
  return {kBox, u, 0, length, 0.96 * size.w, 0.0, height, kTyreReflectivity, Surface::kDark};
}

}  // namespace

ObjectParts CarParts(const ObjectSize& size, double paint, double cabin_shift) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, l, w, 0.25, 0.58 * h, paint, Surface::kPaint},
          {kBox, cabin_shift * l, 0, 0.52 * l, 0.86 * w, 0.58 * h, h, kGlassReflectivity, Surface::kGlass},
          Wheels(size, 0.3 * l, 0.15 * l, 0.3),
          Wheels(size, -0.3 * l, 0.15 * l, 0.3)};
}

ObjectParts TruckParts(const ObjectSize& size, double paint) {
  const auto& [l, w, h] = size;
  return {{kBox, 0.38 * l, 0, 0.24 * l, 0.92 * w, 0.4, 0.5 * h, paint, Surface::kPaint},
          {kBox, 0.36 * l, 0, 0.2 * l, 0.88 * w, 0.5 * h, 0.8 * h, kGlassReflectivity, Surface::kGlass},
          {kBox, -0.13 * l, 0, 0.74 * l, w, 0.9, h, 0.8 * paint, Surface::kPaint},
          {kBox, 0, 0, 0.9 * l, 0.4 * w, 0.5, 0.9, kTyreReflectivity, Surface::kDark},
          Wheels(size, 0.35 * l, 0.13 * l, 0.9),
          Wheels(size, -0.3 * l, 0.13 * l, 0.9)};
}

ObjectParts BusParts(const ObjectSize& size, double paint) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, 0.995 * l, 0.98 * w, 0.35, 0.42 * h, paint, Surface::kPaint},
          {kBox, 0, 0, l, w, 0.42 * h, 0.8 * h, kGlassReflectivity, Surface::kGlass},
          {kBox, 0, 0, 0.995 * l, 0.98 * w, 0.8 * h, h, paint, Surface::kPaint},
          Wheels(size, 0.32 * l, 0.09 * l, 0.9),
          Wheels(size, -0.28 * l, 0.09 * l, 0.9)};
}

ObjectParts TrailerParts(const ObjectSize& size, double paint) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, l, w, 1.1, h, paint, Surface::kPaint},
          {kBox, 0.4 * l, 0, 0.05 * l, 0.5 * w, 0.0, 1.1, kTyreReflectivity, Surface::kDark},
          Wheels(size, -0.22 * l, 0.09 * l, 1.0),
          Wheels(size, -0.35 * l, 0.09 * l, 1.0)};
}

ObjectParts ConstructionVehicleParts(const ObjectSize& size, double paint) {
  const auto& [l, w, h] = size;
  return {{kBox, -0.15 * l, 0.4 * w, 0.6 * l, 0.2 * w, 0, 0.9, kTyreReflectivity, Surface::kDark},
          {kBox, -0.15 * l, -0.4 * w, 0.6 * l, 0.2 * w, 0, 0.9, kTyreReflectivity, Surface::kDark},
          {kBox, -0.25 * l, 0, 0.5 * l, 0.9 * w, 0.9, 0.6 * h, paint, Surface::kPaint},
          {kBox, -0.02 * l, 0.25 * w, 0.2 * l, 0.4 * w, 0.6 * h, h, kGlassReflectivity, Surface::kGlass},
          {kBox, 0.22 * l, -0.1 * w, 0.44 * l, 0.15 * w, 0.75 * h, 0.9 * h, paint, Surface::kPaint},
          {kBox, 0.44 * l, -0.1 * w, 0.1 * l, 0.15 * w, 0.3, 0.9 * h, paint, Surface::kPaint}};
}

ObjectParts PersonParts(const ObjectSize& size, double clothes, double stride) {
  const auto& [l, w, h] = size;
  return {{kCylinder, 0, 0, 0.55 * l, 0.85 * w, 0.48 * h, 0.86 * h, clothes, Surface::kPaint},
          {kCylinder, 0, 0, 0.22, 0.22, 0.86 * h, h, kSkinReflectivity, Surface::kSkin},
          {kCylinder, stride, 0.11, 0.18, 0.18, 0, 0.48 * h, 0.8 * clothes, Surface::kDark},
          {kCylinder, -stride, -0.11, 0.18, 0.18, 0, 0.48 * h, 0.8 * clothes, Surface::kDark}};
}

ObjectParts BicycleParts(const ObjectSize& size, double metal) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, 0.6 * l, 0.06, 0.4, 0.65, metal, Surface::kPaint},
          {kBox, 0.33 * l, 0, 0.34 * l, 0.06, 0, 0.65, 0.15, Surface::kDark},
          {kBox, -0.33 * l, 0, 0.34 * l, 0.06, 0, 0.65, 0.15, Surface::kDark},
          {kBox, 0.22 * l, 0, 0.08, w, 0.95, 1.05, metal, Surface::kDark}};
}

ObjectParts CyclistParts(const ObjectSize& size, double clothes, double metal) {
  const auto& [l, w, h] = size;
  ObjectParts parts = BicycleParts(size, metal);
  Append({{kCylinder, -0.05 * l, 0, 0.32, 0.75 * w, 0.5 * h, 0.87 * h, clothes, Surface::kPaint},
          {kCylinder, 0, 0, 0.22, 0.22, 0.87 * h, h, kSkinReflectivity, Surface::kSkin},
          {kCylinder, 0, 0.12, 0.18, 0.16, 0.15 * h, 0.52 * h, 0.8 * clothes, Surface::kDark},
          {kCylinder, 0, -0.12, 0.18, 0.16, 0.15 * h, 0.52 * h, 0.8 * clothes, Surface::kDark}},
         parts);
  return parts;
}

ObjectParts MotorcyclistParts(const ObjectSize& size, double clothes, double metal) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, 0.55 * l, 0.35, 0.35, 0.55 * h, metal, Surface::kPaint},
          {kBox, 0.34 * l, 0, 0.32 * l, 0.14, 0, 0.62, 0.15, Surface::kDark},
          {kBox, -0.34 * l, 0, 0.32 * l, 0.18, 0, 0.62, 0.15, Surface::kDark},
          {kBox, 0.24 * l, 0, 0.1, w, 0.6 * h, 0.68 * h, metal, Surface::kDark},
          {kCylinder, -0.06 * l, 0, 0.36, 0.75 * w, 0.5 * h, 0.86 * h, clothes, Surface::kPaint},
          {kCylinder, 0, 0, 0.28, 0.28, 0.84 * h, h, kSkinReflectivity, Surface::kDark}};
}

ObjectParts TrafficConeParts(const ObjectSize& size) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, l, w, 0, 0.06, 0.3, Surface::kDark},
          {kCylinder, 0, 0, 0.75 * l, 0.75 * w, 0.06, 0.35 * h, 0.6, Surface::kPaint},
          {kCylinder, 0, 0, 0.55 * l, 0.55 * w, 0.35 * h, 0.65 * h, 0.9, Surface::kPaint},
          {kCylinder, 0, 0, 0.35 * l, 0.35 * w, 0.65 * h, h, 0.6, Surface::kPaint}};
}

ObjectParts BarrierParts(const ObjectSize& size, double paint) {
  const auto& [l, w, h] = size;
  return {{kBox, 0, 0, l, w, 0, 0.3 * h, paint, Surface::kPaint},
          {kBox, 0, 0, 0.5 * l, w, 0.3 * h, h, paint, Surface::kPaint}};
}

Primitive PlacePart(const ObjectPart& part, double x, double y, double yaw, double ground, int object) {
  const double c = std::cos(yaw), s = std::sin(yaw);
  return {.shape = part.shape,
          .box = {.x = static_cast<float>(x + c * part.u - s * part.v),
                  .y = static_cast<float>(y + s * part.u + c * part.v),
                  .z = static_cast<float>(ground + (part.low + part.high) / 2),
                  .dx = static_cast<float>(part.dx),
                  .dy = static_cast<float>(part.dy),
                  .dz = static_cast<float>(part.high - part.low),
                  .yaw = static_cast<float>(yaw)},
          .reflectivity = static_cast<float>(std::clamp(part.reflectivity, 0.02, 1.0)),
          .object = object,
          .surface = part.surface};
}

}  // namespace kd
