#include "data/drive_scene.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "data/footprint.h"

namespace kd {
namespace {

constexpr double kSight = 80;  // Metres from the vehicle within which the street is furnished.
constexpr double kLane = 1.75;
constexpr double kStreetOfDistractors = 40;
// The vehicle itself: its length, width and the place of its middle before the rear axle.
constexpr double kVehicleLength = 4.8, kVehicleWidth = 2, kVehicleMiddle = 1.4;
constexpr double kWeaveSeconds = 8, kPitchSeconds = 3, kPitchSwing = 0.003;

double Angle(double turns) { return 2 * M_PI * turns; }

double Wrap(double yaw) { return yaw - 2 * M_PI * std::floor(yaw / (2 * M_PI) + 0.5); }

struct Mover {
  Footprint at_start;
  double speed = 0;

  Footprint At(double time) const {
    Footprint f = at_start;
    f.x += speed * time * std::cos(f.yaw);
    f.y += speed * time * std::sin(f.yaw);
    return f;
  }
};

class DriveBuilder {
 public:
  DriveBuilder(CounterRng& rng, double seconds) : rng_(rng) { scene_.seconds = seconds; }

  DriveScene Build() {
    scene_.half_width = rng_.Uniform(6, 8);
    scene_.vehicle_speed = rng_.Uniform(5, 12);
    scene_.vehicle_y = -kLane;
    scene_.weave = rng_.Uniform(0.05, 0.3);
    scene_.pitch = 0.006 * rng_.Normal();
    scene_.roll = 0.006 * rng_.Normal();
    scene_.street_to_map = {.rotation = RotationOfAngles(0, 0, rng_.Uniform(-M_PI, M_PI)),
                            .translation = {rng_.Uniform(800, 1600), rng_.Uniform(800, 1600), 0}};
    taken_.push_back({{kVehicleMiddle, scene_.vehicle_y, kVehicleLength, kVehicleWidth + 2 * scene_.weave, 0},
                      scene_.vehicle_speed});
    AddFacades();
    AddLane(-kLane, 0, scene_.vehicle_speed);
    AddLane(kLane, M_PI, rng_.Uniform() < 0.2 ? 0 : rng_.Uniform(4, 12));
    AddSites();
    for (const double side : {-1.0, 1.0}) AddParked(side);
    AddCyclists();
    AddPedestrians();
    AddBicycles();
    AddDistractors();
    return std::move(scene_);
  }

 private:
  // Where things of a speed along the street start that are seen at some time.
  std::array<double, 2> Range(double along_speed) const {
    const double gain = (scene_.vehicle_speed - along_speed) * scene_.seconds;
    return {std::min(gain, 0.0) - kSight, std::max(gain, 0.0) + kSight};
  }

  template <typename Add>
  void Scatter(double per_metre, double along_speed, const Add& add) {
    const auto [first, last] = Range(along_speed);
    for (int i = rng_.Poisson(per_metre * (last - first)); i > 0; --i) add(rng_.Uniform(first, last));
  }

  bool Meet(const Mover& a, const Mover& b) const {
    const double reach = (std::hypot(a.at_start.dx, a.at_start.dy) + std::hypot(b.at_start.dx, b.at_start.dy)) / 2;
    const double x = b.at_start.x - a.at_start.x, y = b.at_start.y - a.at_start.y;
    const double u = b.speed * std::cos(b.at_start.yaw) - a.speed * std::cos(a.at_start.yaw);
    const double v = b.speed * std::sin(b.at_start.yaw) - a.speed * std::sin(a.at_start.yaw);
    const double square = u * u + v * v;
    const double nearest = square < 1e-12 ? 0 : std::clamp(-(x * u + y * v) / square, 0.0, scene_.seconds);
    if (std::hypot(x + u * nearest, y + v * nearest) > reach) return false;
    if (square < 1e-12) return Overlap(a.at_start, b.at_start);
    constexpr double kStep = 0.05;
    const double around = 2 * reach / std::sqrt(square);
    const double end = std::min(nearest + around, scene_.seconds);
    for (double time = std::max(nearest - around, 0.0); time <= end; time += kStep) {
      if (Overlap(a.At(time), b.At(time))) return true;
    }
    return false;
  }

  bool Place(const Mover& mover) {
    const auto meets = [&](const Mover& other) { return Meet(mover, other); };
    if (std::any_of(taken_.begin(), taken_.end(), meets)) return false;
    taken_.push_back(mover);
    return true;
  }

  ObjectSize DrawSize(DriveKind kind) {
    const auto draw = [&](const ObjectSize& mean, double share) -> ObjectSize {
      const double s = std::clamp(rng_.Normal(), -2.0, 2.0), l = std::clamp(rng_.Normal(), -2.0, 2.0);
      return {mean.l * (1 + share * l), mean.w * (1 + 0.5 * share * s), mean.h * (1 + 0.6 * share * s)};
    };
    switch (kind) {
      case DriveKind::kCar:
        return draw({4.3, 1.85, 1.6}, 0.08);
      case DriveKind::kTruck:
        return draw({7, 2.5, 3}, 0.12);
      case DriveKind::kBus:
        return draw({11, 2.9, 3.4}, 0.06);
      case DriveKind::kTrailer:
        return draw({11, 2.8, 3.8}, 0.08);
      case DriveKind::kConstructionVehicle:
        return draw({6.5, 2.8, 3.2}, 0.08);
      case DriveKind::kPedestrian:
        return draw({0.7, 0.68, 1.75}, 0.08);
      case DriveKind::kMotorcyclist:
        return draw({2.1, 0.8, 1.65}, 0.06);
      case DriveKind::kCyclist:
        return draw({1.8, 0.7, 1.75}, 0.06);
      case DriveKind::kBicycle:
        return draw({1.75, 0.65, 1.25}, 0.04);
      case DriveKind::kTrafficCone:
        return draw({0.45, 0.45, 1.05}, 0.08);
      case DriveKind::kBarrier:
        return draw({0.6, 2.5, 1.05}, 0.06);
    }
    return {};
  }

  // Draws all that the kind has, so that a thing that finds no place changes none that comes later.
  ObjectParts DrawParts(DriveKind kind, const ObjectSize& size) {
    const ObjectSize inner{size.l - 2 * kBoxMargin, size.w - 2 * kBoxMargin, size.h - kBoxMargin};
    const double paint = rng_.Uniform(0.08, 0.8), metal = rng_.Uniform(0.2, 0.6), shift = rng_.Uniform();
    switch (kind) {
      case DriveKind::kCar:
        return CarParts(inner, paint, -0.12 + 0.1 * shift);
      case DriveKind::kTruck:
        return TruckParts(inner, paint);
      case DriveKind::kBus:
        return BusParts(inner, paint);
      case DriveKind::kTrailer:
        return TrailerParts(inner, paint);
      case DriveKind::kConstructionVehicle:
        return ConstructionVehicleParts(inner, paint);
      case DriveKind::kPedestrian:
        return PersonParts(inner, paint, (shift - 0.5) * 0.5 * inner.l);
      case DriveKind::kMotorcyclist:
        return MotorcyclistParts(inner, paint, metal);
      case DriveKind::kCyclist:
        return CyclistParts(inner, paint, metal);
      case DriveKind::kBicycle:
        return BicycleParts(inner, metal);
      case DriveKind::kTrafficCone:
        return TrafficConeParts(inner);
      case DriveKind::kBarrier:
        return BarrierParts(inner, paint);
    }
    return {};
  }

  Rgb DrawColor(DriveKind kind) {
    const auto shade = [&](int base, int spread) {
      return static_cast<uint8_t>(std::clamp(base + spread * rng_.Uniform(-1, 1), 0.0, 255.0));
    };
    if (kind == DriveKind::kTrafficCone) return {230, 90, 30};
    if (kind == DriveKind::kBarrier) return {220, 200, 190};
    if (kind == DriveKind::kConstructionVehicle) return {230, 180, 40};
    return {shade(120, 110), shade(120, 110), shade(120, 110)};
  }

  // Fills what the kind has and places the object where nothing is.
  bool Add(DriveObject object) {
    object.parts = DrawParts(object.kind, object.size);
    object.color = DrawColor(object.kind);
    if (!Place({{object.x, object.y, object.size.l, object.size.w, object.yaw}, object.speed})) return false;
    object.yaw = Wrap(object.yaw);
    scene_.objects.push_back(std::move(object));
    return true;
  }

  void AddFixed(const ObjectPart& part, double x, double y, double yaw, const Rgb& color) {
    scene_.fixed.push_back(PlacePart(part, x, y, yaw, 0, -1));
    scene_.fixed.back().color = color;
  }

  void AddFacades() {
    const auto [first, last] = Range(0);
    for (const double side : {-1.0, 1.0}) {
      for (double along = first; along < last;) {
        const double length = rng_.Uniform(4, 16), height = rng_.Uniform(1.5, 6);
        const double set_back = rng_.Uniform(2.5, 4.5), reflectivity = rng_.Uniform(0.15, 0.7);
        const auto tone = static_cast<uint8_t>(rng_.Uniform(90, 210));
        if (rng_.Uniform() < 0.75) {
          const Footprint f{along + length / 2, side * (scene_.half_width + set_back + 1.5), length, 3.0, 0};
          taken_.push_back({f, 0});
          AddFixed({Primitive::Shape::kBox, 0, 0, f.dx, f.dy, -1, height, reflectivity, Surface::kFacade}, f.x, f.y, 0,
                   {tone, static_cast<uint8_t>(tone * 0.93), static_cast<uint8_t>(tone * 0.82)});
        }
        along += length;
      }
    }
  }

  void AddLane(double y, double yaw, double speed) {
    const bool queues = speed == 0;
    const auto [first, last] = Range(speed * std::cos(yaw));
    for (double along = first; along < last;) {
      const double pick = rng_.Uniform();
      const DriveKind kind = pick < 0.68   ? DriveKind::kCar
                             : pick < 0.8  ? DriveKind::kTruck
                             : pick < 0.87 ? DriveKind::kBus
                             : pick < 0.97 ? DriveKind::kMotorcyclist
                                           : DriveKind::kConstructionVehicle;
      const ObjectSize size = DrawSize(kind), towed = DrawSize(DriveKind::kTrailer);
      const bool tows = kind == DriveKind::kTruck && rng_.Uniform() < 0.5;
      const double turn = 0.03 * rng_.Normal(), aside = 0.15 * rng_.Normal();
      // A turned heading leads out of the lane in time.
      const double heading = yaw + (queues ? turn : 0);
      along += size.l / 2;
      DriveObject object{
          .kind = kind, .size = size, .x = along, .y = y + aside, .yaw = heading, .speed = speed, .queues = queues};
      const bool there = Add(object);
      if (there && tows) {
        object.kind = DriveKind::kTrailer;
        object.size = towed;
        // Behind the truck, whichever way it goes.
        object.x -= std::cos(yaw) * (size.l + towed.l + 1.2) / 2;
        Add(object);
      }
      along += size.l / 2 + (tows ? towed.l : 0) + rng_.Uniform(6, 34);
    }
  }

  void AddSites() {
    Scatter(0.012, 0, [&](double along) {
      const double side = rng_.Uniform() < 0.5 ? -1 : 1, inner = scene_.half_width - 3.5;
      const double turn = rng_.Uniform() < 0.5 ? 0 : M_PI;
      Add({.kind = DriveKind::kConstructionVehicle,
           .size = DrawSize(DriveKind::kConstructionVehicle),
           .x = along,
           .y = side * (scene_.half_width - 1.6),
           .yaw = turn + 0.15 * rng_.Normal()});
      const int cones = 3 + static_cast<int>(rng_.Below(5));
      const int barriers = 2 + static_cast<int>(rng_.Below(4));
      double x = along - 6;
      for (int i = 0; i < cones; ++i, x += rng_.Uniform(1.5, 2.5)) {
        Add({.kind = DriveKind::kTrafficCone,
             .size = DrawSize(DriveKind::kTrafficCone),
             .x = x,
             .y = side * (inner + rng_.Uniform(0, 0.3)),
             .yaw = rng_.Uniform(-M_PI, M_PI)});
      }
      for (int i = 0; i < barriers; ++i, x += rng_.Uniform(2.8, 3.4)) {
        Add({.kind = DriveKind::kBarrier,
             .size = DrawSize(DriveKind::kBarrier),
             .x = x,
             .y = side * (inner + rng_.Uniform(0, 0.3)),
             .yaw = side * M_PI / 2 + 0.1 * rng_.Normal()});
      }
    });
  }

  void AddParked(double side) {
    constexpr double kBlock = 45;
    const auto [first, last] = Range(0);
    bool used = false;
    double block_end = first;
    for (double along = first; along < last; along += rng_.Uniform(0.9, 2.0)) {
      if (along >= block_end) {
        used = rng_.Uniform() < 0.6;
        block_end = along + kBlock;
      }
      const double pick = rng_.Uniform();
      const DriveKind kind = pick < 0.88 ? DriveKind::kCar : pick < 0.94 ? DriveKind::kTruck : DriveKind::kTrailer;
      const ObjectSize size = DrawSize(kind);
      const double turn = rng_.Uniform() < 0.5 ? 0 : M_PI;
      const double yaw = turn + 0.03 * rng_.Normal();
      const bool free = rng_.Uniform() < 0.45;
      along += size.l / 2;
      if (used && !free) {
        Add({.kind = kind, .size = size, .x = along, .y = side * (scene_.half_width - 0.2 - size.w / 2), .yaw = yaw});
      }
      along += size.l / 2;
    }
  }

  void AddCyclists() {
    for (const double side : {-1.0, 1.0}) {
      const double speed = rng_.Uniform(3, 6), yaw = side < 0 ? 0 : M_PI;
      Scatter(0.07, speed * std::cos(yaw), [&](double along) {
        Add({.kind = DriveKind::kCyclist,
             .size = DrawSize(DriveKind::kCyclist),
             .x = along,
             .y = side * (scene_.half_width - rng_.Uniform(2.6, 3.2)),
             .yaw = yaw,
             .speed = speed});
      });
    }
  }

  void AddPedestrians() {
    for (const double speed : {0.0, 0.0, 1.1, 1.4, -1.1, -1.4}) {
      // Groups of one to three, a sixth of all each.
      Scatter(0.26 / 6 / 2, speed, [&](double along) {
        const int size = 1 + static_cast<int>(rng_.Below(3));
        const bool pavement = speed != 0 || rng_.Uniform() < 0.8;
        const double side = rng_.Uniform() < 0.5 ? -1 : 1;
        const double across =
            side * (pavement ? scene_.half_width + rng_.Uniform(0.3, 2.2) : rng_.Uniform(2.9, scene_.half_width));
        const double heading = speed == 0 ? rng_.Uniform(-M_PI, M_PI) : speed > 0 ? 0 : M_PI;
        for (int i = 0; i < size; ++i) {
          Add({.kind = DriveKind::kPedestrian,
               .size = DrawSize(DriveKind::kPedestrian),
               .x = along + (i == 0 ? 0 : rng_.Uniform(-1.2, 1.2)),
               .y = across + (i == 0 ? 0 : rng_.Uniform(-1.2, 1.2)),
               .yaw = heading + (speed == 0 ? 0.3 : 0.0) * rng_.Normal(),
               .speed = std::abs(speed)});
        }
      });
    }
  }

  void AddBicycles() {
    Scatter(0.03, 0, [&](double along) {
      const double side = rng_.Uniform() < 0.5 ? -1 : 1;
      Add({.kind = DriveKind::kBicycle,
           .size = DrawSize(DriveKind::kBicycle),
           .x = along,
           .y = side * (scene_.half_width + rng_.Uniform(0.3, 2.2)),
           .yaw = rng_.Uniform(-M_PI, M_PI)});
    });
  }

  void AddDistractors() {
    for (const Distractor& kind : kDistractors) {
      Scatter(kind.mean / kStreetOfDistractors, 0, [&](double along) {
        const double side = rng_.Uniform() < 0.5 ? -1 : 1, across = rng_.Uniform(3, scene_.half_width + 2.5);
        const Footprint f{along, side * across, rng_.Uniform(kind.min_l, kind.max_l),
                          rng_.Uniform(kind.min_w, kind.max_w), rng_.Uniform(-M_PI, M_PI)};
        const double height = rng_.Uniform(kind.min_h, kind.max_h), reflectivity = rng_.Uniform(0.05, 0.7);
        const auto tone = static_cast<uint8_t>(rng_.Uniform(80, 200));
        if (!Place({f, 0})) return;
        AddFixed({kind.shape, 0, 0, f.dx, f.dy, 0, height, reflectivity, kind.surface}, f.x, f.y, f.yaw,
                 {tone, tone, tone});
      });
    }
  }

  CounterRng& rng_;
  DriveScene scene_;
  std::vector<Mover> taken_;
};

}  // namespace

double DriveObject::XAt(double seconds) const { return x + speed * seconds * std::cos(yaw); }
double DriveObject::YAt(double seconds) const { return y + speed * seconds * std::sin(yaw); }

RigidTransform DriveObject::BoxAt(double seconds) const {
  return {.rotation = RotationOfAngles(0, 0, yaw), .translation = {XAt(seconds), YAt(seconds), size.h / 2}};
}

RigidTransform DriveScene::VehicleAt(double time) const {
  const double phase = Angle(time / kWeaveSeconds);
  const double sideways = weave * 2 * M_PI / kWeaveSeconds * std::cos(phase);
  return {.rotation = RotationOfAngles(roll, pitch + kPitchSwing * std::sin(Angle(time / kPitchSeconds)),
                                       std::atan2(sideways, vehicle_speed)),
          .translation = {vehicle_speed * time, vehicle_y + weave * std::sin(phase), 0}};
}

std::vector<Primitive> DriveScene::SolidsAt(double time, double x, double y, double radius) const {
  std::vector<Primitive> solids;
  const auto near = [&](double at_x, double at_y, double dx, double dy) {
    return std::hypot(at_x - x, at_y - y) - std::hypot(dx, dy) / 2 < radius;
  };
  for (const Primitive& primitive : fixed) {
    const Box3d& box = primitive.box;
    if (near(box.x, box.y, box.dx, box.dy)) solids.push_back(primitive);
  }
  for (size_t i = 0; i < objects.size(); ++i) {
    const DriveObject& object = objects[i];
    const double at_x = object.XAt(time), at_y = object.YAt(time);
    if (!near(at_x, at_y, object.size.l, object.size.w)) continue;
    for (const ObjectPart& part : object.parts) {
      solids.push_back(PlacePart(part, at_x, at_y, object.yaw, 0, static_cast<int>(i)));
      solids.back().color = object.color;
    }
  }
  return solids;
}

int PointsInBox(const std::vector<Vec3>& points, const RigidTransform& box, const ObjectSize& size) {
  const RigidTransform to_box = box.Inverse();
  const double reach = std::hypot(size.l, size.w, size.h) / 2;
  return static_cast<int>(std::count_if(points.begin(), points.end(), [&](const Vec3& point) {
    if (std::abs(point[0] - box.translation[0]) > reach) return false;
    if (std::abs(point[1] - box.translation[1]) > reach) return false;
    const Vec3 own = to_box.Apply(point);
    return std::abs(own[0]) <= size.l / 2 && std::abs(own[1]) <= size.w / 2 && std::abs(own[2]) <= size.h / 2;
  }));
}

DriveScene DrawDriveScene(CounterRng& rng, double seconds) { return DriveBuilder(rng, seconds).Build(); }

}  // namespace kd
