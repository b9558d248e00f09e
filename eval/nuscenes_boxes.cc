#include "eval/nuscenes_boxes.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "base/status.h"

namespace kd {
namespace {

// Faster than this (m/s) an object moves.
constexpr double kMoving = 0.2;

absl::string_view AttributeOf(absl::string_view name, double speed) {
  const bool moves = speed > kMoving;
  if (name == "pedestrian") return moves ? "pedestrian.moving" : "pedestrian.standing";
  if (name == "bicycle" || name == "motorcycle") return moves ? "cycle.with_rider" : "cycle.without_rider";
  if (name == "bus") return moves ? "vehicle.moving" : "vehicle.stopped";
  if (name == "barrier" || name == "traffic_cone") return "";
  return moves ? "vehicle.moving" : "vehicle.parked";
}

}  // namespace

absl::StatusOr<NuscenesDetections> ToNuscenesDetections(const NuscenesTables& tables, const std::string& sample,
                                                        const std::vector<std::string>& class_names,
                                                        const std::vector<Detection>& detections) {
  NuscenesDetections result;
  KD_ASSIGN_OR_RETURN(result.sample, tables.FindSample(sample));
  KD_ASSIGN_OR_RETURN(const NuscenesRecording* const key, tables.KeyFrame(result.sample, kNuscenesLidar));
  const RigidTransform to_global = tables.SensorToGlobal(*key);
  for (const Detection& detection : detections) {
    const Box3d& box = detection.box;
    if (!(box.dx > 0 && box.dy > 0 && box.dz > 0)) continue;
    const std::string& name = class_names[detection.label];
    const Vec3 heading = to_global.Rotate({std::cos(box.yaw), std::sin(box.yaw), 0});
    const Vec3 velocity = to_global.Rotate({detection.vx, detection.vy, 0});
    result.boxes.push_back({.center = to_global.Apply({box.x, box.y, box.z}),
                            .size = {box.dy, box.dx, box.dz},
                            .yaw = std::atan2(heading[1], heading[0]),
                            .velocity = {velocity[0], velocity[1]},
                            .label = static_cast<int8_t>(NuscenesClassIndex(name)),
                            .attribute = static_cast<int8_t>(
                                NuscenesAttributeIndex(AttributeOf(name, std::hypot(detection.vx, detection.vy)))),
                            .score = detection.score});
  }
  if (result.boxes.size() > kMaxNuscenesBoxes) {
    std::stable_sort(result.boxes.begin(), result.boxes.end(),
                     [](const NuscenesBox& a, const NuscenesBox& b) { return a.score > b.score; });
    result.boxes.resize(kMaxNuscenesBoxes);
  }
  return result;
}

}  // namespace kd
