// Frames of the Waymo Open Dataset v1: what one record of a segment holds, checked, with range images turned into
// points (datasets.md sections 3.2 to 3.4). Double precision; lengths in metres, angles in radians.
#ifndef KD_DATA_WAYMO_FRAME_H_
#define KD_DATA_WAYMO_FRAME_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

enum WaymoType { kWaymoUnknown = 0, kWaymoVehicle = 1, kWaymoPedestrian = 2, kWaymoSign = 3, kWaymoCyclist = 4 };
// "Vehicle", ...; "Unknown" for any other number.
std::string WaymoTypeName(int type);

// Of lasers, numbered 1 to 5.
inline constexpr int kWaymoTopLaser = 1;
std::string WaymoLaserName(int laser);

// 4x4 row-major, the last row 0 0 0 1, the upper left 3x3 a rotation.
using WaymoTransform = std::array<double, 16>;

// In the vehicle frame.
struct WaymoLabel {
  std::string id;
  int type = kWaymoUnknown;
  double x = 0, y = 0, z = 0;
  // Length along the heading, which turns from +x to +y.
  double length = 0, width = 0, height = 0, heading = 0;
  // In the world frame.
  double speed_x = 0, speed_y = 0;
  int num_points = 0;
  // 0: not set by the labeller; 1 or 2.
  int difficulty = 0;
};

struct WaymoCamera {
  int camera = 0;
  // f_u f_v c_u c_v k1 k2 p1 p2 k3.
  std::array<double, 9> intrinsic{};
  // Camera (x out of the lens, y left, z up) to vehicle.
  WaymoTransform extrinsic{};
  int width = 0, height = 0;
};

struct WaymoLaser {
  int laser = 0;
  // Of the beams, ascending; empty where rows are evenly spaced between the two bounds.
  std::vector<double> inclinations;
  double inclination_min = 0, inclination_max = 0;
  // Laser to vehicle.
  WaymoTransform extrinsic{};
};

struct WaymoPoint {
  // In the vehicle frame of the frame's pose.
  std::array<double, 3> position{};
  float range = 0, intensity = 0, elongation = 0;
  bool in_no_label_zone = false;
};

// Points of one return of one laser, row by row of its range image.
struct WaymoCloud {
  int laser = 0;
  // 1 or 2.
  int ret = 0;
  std::vector<WaymoPoint> points;
};

struct WaymoImage {
  int camera = 0;
  std::string jpeg;
};

// Which frame it is, as files of ground truths and detections name it.
struct WaymoFrameId {
  std::string context;
  int64_t timestamp_micros = 0;
};

struct WaymoFrame {
  std::string context;
  int64_t timestamp_micros = 0;
  std::string time_of_day, location, weather;
  // Vehicle to world.
  WaymoTransform pose{};
  // Each sorted by number.
  std::vector<WaymoCamera> cameras;
  std::vector<WaymoLaser> lasers;
  std::vector<WaymoImage> images;
  std::vector<WaymoLabel> labels;
  // Sorted by return, then laser. Lasers without a name are left out.
  std::vector<WaymoCloud> clouds;
};

// Parses one payload.
// DATA_LOSS: not a Frame, or one above 64 MiB; a number that is not finite where one is needed, or beyond any road; a
// transform that is not rigid; a calibration that is missing, doubled or incomplete; a stream that does not unpack or
// whose sizes disagree, or streams of more than 64 MiB together.
absl::StatusOr<WaymoFrame> ParseWaymoFrame(absl::string_view payload);

// That alone. DATA_LOSS: not a Frame, or one above 64 MiB.
absl::StatusOr<WaymoFrameId> ParseWaymoFrameId(absl::string_view payload);

}  // namespace kd

#endif  // KD_DATA_WAYMO_FRAME_H_
