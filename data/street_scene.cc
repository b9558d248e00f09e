#include "data/street_scene.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/footprint.h"
#include "data/object_shapes.h"

namespace kd {
namespace {

constexpr int kCar = 0, kPedestrian = 1, kCyclist = 2;

class Builder {
 public:
  explicit Builder(CounterRng& rng) : rng_(rng) {}

  StreetScene Build() {
    scene_.slope_x = 0.008 * rng_.Normal();
    scene_.slope_y = 0.008 * rng_.Normal();
    street_yaw_ = 0.12 * rng_.Normal();
    street_offset_ = rng_.Uniform(-3, 3);
    half_width_ = rng_.Uniform(3.5, 6);
    AddFacades();
    AddParkedCars();
    for (int i = rng_.Poisson(3); i > 0; --i) AddMovingCar();
    for (int people = rng_.Poisson(10); people > 0;) people -= AddPedestrianGroup(people);
    for (int i = rng_.Poisson(5); i > 0; --i) AddCyclist();
    AddDistractors();
    return std::move(scene_);
  }

 private:
  // Street coordinates: along the axis, and to its left.
  std::array<double, 2> FromStreet(double along, double across) const {
    const double c = std::cos(street_yaw_), s = std::sin(street_yaw_);
    const double left = across + street_offset_;
    return {c * along - s * left, s * along + c * left};
  }

  bool Place(const Footprint& footprint) {
    if (std::hypot(footprint.x, footprint.y) < 3.5) return false;
    for (const Footprint& other : taken_) {
      if (Overlap(footprint, other)) return false;
    }
    taken_.push_back(footprint);
    return true;
  }

  void AddParts(const ObjectParts& parts, const Footprint& whole, int object) {
    const double ground = scene_.GroundAt(whole.x, whole.y);
    for (const ObjectPart& part : parts) {
      scene_.primitives.push_back(PlacePart(part, whole.x, whole.y, whole.yaw, ground, object));
    }
  }

  int AddObject(const Footprint& f, double height, int label) {
    const double yaw = f.yaw - 2 * M_PI * std::floor(f.yaw / (2 * M_PI) + 0.5);
    scene_.objects.push_back({.box = {.x = static_cast<float>(f.x),
                                      .y = static_cast<float>(f.y),
                                      .z = static_cast<float>(scene_.GroundAt(f.x, f.y) + height / 2),
                                      .dx = static_cast<float>(f.dx),
                                      .dy = static_cast<float>(f.dy),
                                      .dz = static_cast<float>(height),
                                      .yaw = static_cast<float>(yaw)},
                              .label = label});
    return static_cast<int>(scene_.objects.size()) - 1;
  }

  void AddFacades() {
    for (const double side : {-1.0, 1.0}) {
      for (double along = -20; along < 60;) {
        const double length = rng_.Uniform(4, 16), height = rng_.Uniform(1.5, 6);
        const double set_back = rng_.Uniform(2.5, 4.5), reflectivity = rng_.Uniform(0.15, 0.7);
        if (rng_.Uniform() < 0.75) {
          const auto [x, y] = FromStreet(along + length / 2, side * (half_width_ + set_back + 1.5));
          const Footprint f{x, y, length, 3.0, street_yaw_};
          taken_.push_back(f);
          AddParts({{Primitive::Shape::kBox, 0, 0, f.dx, f.dy, -1, height, reflectivity}}, f, -1);
        }
        along += length;
      }
    }
  }

  void AddCar(double along, double across, double yaw) {
    const auto [x, y] = FromStreet(along, across);
    const double l = 4.3 + 0.35 * rng_.Normal(), w = 1.85 + 0.12 * rng_.Normal(), h = 1.6 + 0.15 * rng_.Normal();
    const Footprint f{x, y, l, w, yaw};
    const double paint = rng_.Uniform(0.08, 0.8), cabin_shift = rng_.Uniform(-0.12, -0.02);
    if (!Place(f)) return;
    AddParts(CarParts({l, w, h}, paint, cabin_shift), f, AddObject(f, h, kCar));
  }

  void AddParkedCars() {
    for (const double side : {-1.0, 1.0}) {
      if (rng_.Uniform() >= 0.6) continue;
      for (double along = -2; along < 42; along += rng_.Uniform(5.4, 6.4)) {
        const double turn = rng_.Uniform() < 0.5 ? 0 : M_PI;
        const double yaw = street_yaw_ + turn + 0.03 * rng_.Normal();
        if (rng_.Uniform() < 0.55) AddCar(along, side * (half_width_ - 1.1) + 0.1 * rng_.Normal(), yaw);
      }
    }
  }

  void AddMovingCar() {
    const bool crossing = rng_.Uniform() < 0.15;
    const double turn = rng_.Uniform() < 0.5 ? 0 : M_PI;
    const double yaw = street_yaw_ + turn + (crossing ? M_PI / 2 : 0) + 0.08 * rng_.Normal();
    AddCar(rng_.Uniform(4, 40), rng_.Uniform(-0.6, 0.6) * half_width_, yaw);
  }

  int AddPedestrianGroup(int wanted) {
    const int size = std::min<int>(wanted, 1 + static_cast<int>(rng_.Below(3)));
    const bool pavement = rng_.Uniform() < 0.8;
    const double side = rng_.Uniform() < 0.5 ? -1 : 1;
    const double along = rng_.Uniform(2, 40);
    const double across = pavement ? side * (half_width_ + rng_.Uniform(0.3, 2.2)) : rng_.Uniform(-1, 1) * half_width_;
    const double heading = rng_.Uniform(-M_PI, M_PI);
    for (int i = 0; i < size; ++i) {
      const auto [x, y] =
          FromStreet(along + (i == 0 ? 0 : rng_.Uniform(-1.2, 1.2)), across + (i == 0 ? 0 : rng_.Uniform(-1.2, 1.2)));
      const double l = 0.65 + 0.1 * rng_.Normal(), w = 0.62 + 0.08 * rng_.Normal(), h = 1.7 + 0.13 * rng_.Normal();
      const Footprint f{x, y, std::max(l, 0.35), std::max(w, 0.35), heading + 0.3 * rng_.Normal()};
      if (!Place(f)) continue;
      const double clothes = rng_.Uniform(0.1, 0.7), stride = rng_.Uniform(-0.25, 0.25) * f.dx;
      AddParts(PersonParts({f.dx, f.dy, h}, clothes, stride), f, AddObject(f, h, kPedestrian));
    }
    return size;
  }

  void AddCyclist() {
    const bool along_street = rng_.Uniform() < 0.75;
    const double yaw =
        street_yaw_ + (along_street ? 0 : M_PI / 2) + (rng_.Uniform() < 0.5 ? 0 : M_PI) + 0.1 * rng_.Normal();
    const auto [x, y] = FromStreet(rng_.Uniform(3, 40), rng_.Uniform(-1.1, 1.1) * half_width_);
    const double l = 1.75 + 0.12 * rng_.Normal(), w = 0.65 + 0.08 * rng_.Normal(), h = 1.7 + 0.1 * rng_.Normal();
    const Footprint f{x, y, l, w, yaw};
    const double clothes = rng_.Uniform(0.1, 0.7), metal = rng_.Uniform(0.2, 0.6);
    if (!Place(f)) return;
    AddParts(CyclistParts({l, w, h}, clothes, metal), f, AddObject(f, h, kCyclist));
  }

  void AddDistractors() {
    for (const Distractor& kind : kDistractors) {
      for (int i = rng_.Poisson(kind.mean); i > 0; --i) {
        const auto [x, y] = FromStreet(rng_.Uniform(2, 42), rng_.Uniform(-1, 1) * (half_width_ + 2.5));
        const Footprint f{x, y, rng_.Uniform(kind.min_l, kind.max_l), rng_.Uniform(kind.min_w, kind.max_w),
                          rng_.Uniform(-M_PI, M_PI)};
        const double height = rng_.Uniform(kind.min_h, kind.max_h), reflectivity = rng_.Uniform(0.05, 0.7);
        if (Place(f)) AddParts({{kind.shape, 0, 0, f.dx, f.dy, 0, height, reflectivity, kind.surface}}, f, -1);
      }
    }
  }

  CounterRng& rng_;
  StreetScene scene_;
  std::vector<Footprint> taken_;
  double street_yaw_ = 0, street_offset_ = 0, half_width_ = 5;
};

}  // namespace

StreetScene DrawStreetScene(CounterRng& rng) { return Builder(rng).Build(); }

}  // namespace kd
