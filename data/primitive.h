// The solids that simulated worlds are made of.
#ifndef KD_DATA_PRIMITIVE_H_
#define KD_DATA_PRIMITIVE_H_

#include <array>
#include <cstdint>

#include "data/frame.h"
#include "data/rigid_transform.h"

namespace kd {

using Rgb = std::array<uint8_t, 3>;

// What a solid is made of, as cameras see it. A part of a laser's pulse goes on through glass and leaves.
enum class Surface : uint8_t { kPaint, kGlass, kDark, kSkin, kLeaves, kFacade };

// An upright box or an elliptic cylinder (dx, dy its diameters) with one reflectivity.
struct Primitive {
  enum class Shape { kBox, kCylinder };
  Shape shape = Shape::kBox;
  Box3d box;
  float reflectivity = 0.5f;
  // Index into StreetScene::objects; -1: not labelled.
  int object = -1;
  Surface surface = Surface::kPaint;
  // Of paint and facades.
  Rgb color{128, 128, 128};
};

// A primitive as rays meet it. Immutable, thus thread-safe.
class RayTarget {
 public:
  explicit RayTarget(const Primitive& primitive);

  // How many times `direction` leads from `origin` to the place where the ray enters the primitive; negative: it misses
  // or starts inside.
  double Hit(const Vec3& origin, const Vec3& direction) const;
  // Points away from the primitive, of length 1. `point` lies on its surface.
  Vec3 NormalAt(const Vec3& point) const;
  // `point` in the primitive's own axes: along the heading, to its left and up from the centre.
  Vec3 ToOwn(const Vec3& point) const;

 private:
  bool box_;
  double x_, y_, z_, cos_, sin_;
  // Half sizes.
  double half_x_, half_y_, half_z_;
};

}  // namespace kd

#endif  // KD_DATA_PRIMITIVE_H_
