#include "data/waymo_frame.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "data/waymo.pb.h"

namespace kd {
namespace {

constexpr int kLasers = 5;
constexpr int kCameras = 5;
// Several times what real frames and range images take.
constexpr size_t kMaxFrameBytes = size_t{64} << 20;
constexpr size_t kMaxInflatedBytes = size_t{64} << 20;  // Of a frame's streams together.
// Of a box or speed: further than anything on a road.
constexpr double kLargestNumber = 1e6;
constexpr int kMaxImageSide = 1 << 16;
constexpr int kPixelChannels = 4;
constexpr int kPoseChannels = 6;
// Real transforms are products of float and double arithmetic.
constexpr double kRotationTolerance = 1e-3;

absl::Status Damaged(absl::string_view problem) {
  return absl::DataLossError(absl::StrCat(problem, "; the file is damaged, copy it anew"));
}

bool AllFinite(const google::protobuf::RepeatedField<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

absl::StatusOr<WaymoTransform> ParseTransform(const waymo::Transform& message, absl::string_view name) {
  if (message.transform_size() != 16 || !AllFinite(message.transform())) {
    return Damaged(absl::StrCat(name, " has ", message.transform_size(), " numbers, expected 16 finite ones"));
  }
  WaymoTransform m;
  std::copy(message.transform().begin(), message.transform().end(), m.begin());
  bool rigid = m[12] == 0 && m[13] == 0 && m[14] == 0 && m[15] == 1;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      const double product = m[4 * i] * m[4 * j] + m[4 * i + 1] * m[4 * j + 1] + m[4 * i + 2] * m[4 * j + 2];
      rigid = rigid && std::abs(product - (i == j)) < kRotationTolerance;
    }
  }
  if (!rigid) return Damaged(absl::StrCat(name, " is not a rotation and a translation"));
  return m;
}

// Takes what comes out from `room`.
absl::StatusOr<std::string> Inflate(absl::string_view compressed, absl::string_view name, size_t& room) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) {
    return absl::ResourceExhaustedError(absl::StrCat(name, ": no memory to unpack it; free some and try again"));
  }
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  std::string bytes;
  int result = Z_OK;
  char piece[16384];
  while (result == Z_OK && bytes.size() <= room) {
    stream.next_out = reinterpret_cast<Bytef*>(piece);
    stream.avail_out = sizeof(piece);
    result = inflate(&stream, Z_NO_FLUSH);
    bytes.append(piece, sizeof(piece) - stream.avail_out);
  }
  const bool whole = result == Z_STREAM_END && stream.avail_in == 0;
  inflateEnd(&stream);
  if (bytes.size() > room) {
    return Damaged(absl::StrCat("up to ", name, " the frame unpacks to more than ", kMaxInflatedBytes >> 20, " MiB"));
  }
  if (!whole) return Damaged(absl::StrCat(name, " is not a whole zlib stream"));
  room -= bytes.size();
  return bytes;
}

struct Matrix {
  int height = 0, width = 0, channels = 0;
  google::protobuf::RepeatedField<float> data;

  const float* pixel(int row, int column) const { return &data[(row * width + column) * channels]; }
};

absl::StatusOr<Matrix> ParseMatrix(absl::string_view compressed, int channels, absl::string_view name, size_t& room) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, Inflate(compressed, name, room));
  waymo::MatrixFloat message;
  if (!message.ParseFromString(bytes)) return Damaged(absl::StrCat(name, " does not unpack to a matrix"));
  const auto& dims = message.shape().dims();
  const bool possible =
      dims.size() == 3 && std::all_of(dims.begin(), dims.end(), [](int d) { return d > 0 && d <= kMaxImageSide; });
  if (!possible || dims[2] != channels || int64_t{dims[0]} * dims[1] * dims[2] != message.data_size()) {
    const std::string some = absl::StrJoin(dims.begin(), dims.begin() + std::min(dims.size(), 4), " x ");
    return Damaged(absl::StrCat(name, " has ", message.data_size(), " numbers in a shape of ", some,
                                dims.size() > 4 ? " x ..." : "", ", expected height x width x ", channels));
  }
  Matrix matrix{.height = dims[0], .width = dims[1], .channels = dims[2]};
  matrix.data.Swap(message.mutable_data());
  return matrix;
}

// Of every row, from the highest beam down.
absl::StatusOr<std::vector<double>> RowInclinations(const WaymoLaser& laser, int height, absl::string_view name) {
  std::vector<double> rows = laser.inclinations;
  if (rows.empty()) {
    for (int i = 0; i < height; ++i) {
      rows.push_back(laser.inclination_min + (i + 0.5) / height * (laser.inclination_max - laser.inclination_min));
    }
  }
  if (static_cast<int>(rows.size()) != height) {
    return Damaged(absl::StrCat(name, " has ", height, " rows, its calibration ", rows.size(), " beams"));
  }
  std::reverse(rows.begin(), rows.end());
  return rows;
}

struct Point {
  double x, y, z;
};

Point Apply(const WaymoTransform& m, const Point& p) {
  return {m[0] * p.x + m[1] * p.y + m[2] * p.z + m[3], m[4] * p.x + m[5] * p.y + m[6] * p.z + m[7],
          m[8] * p.x + m[9] * p.y + m[10] * p.z + m[11]};
}

// From the vehicle at the pixel's time to the vehicle at the frame's pose. Positions, which are thousands of metres in
// the world, are subtracted before anything else is done with them.
Point ToFramePose(const float* pixel_pose, const WaymoTransform& pose, const Point& p) {
  const double roll = pixel_pose[0], pitch = pixel_pose[1], yaw = pixel_pose[2];
  const double cr = std::cos(roll), sr = std::sin(roll);
  const double cp = std::cos(pitch), sp = std::sin(pitch);
  const double cy = std::cos(yaw), sy = std::sin(yaw);
  const double wx =
      cy * cp * p.x + (cy * sp * sr - sy * cr) * p.y + (cy * sp * cr + sy * sr) * p.z + (pixel_pose[3] - pose[3]);
  const double wy =
      sy * cp * p.x + (sy * sp * sr + cy * cr) * p.y + (sy * sp * cr - cy * sr) * p.z + (pixel_pose[4] - pose[7]);
  const double wz = -sp * p.x + cp * sr * p.y + cp * cr * p.z + (pixel_pose[5] - pose[11]);
  return {pose[0] * wx + pose[4] * wy + pose[8] * wz, pose[1] * wx + pose[5] * wy + pose[9] * wz,
          pose[2] * wx + pose[6] * wy + pose[10] * wz};
}

// `pixel_poses`: of the same size, or null.
absl::StatusOr<std::vector<WaymoPoint>> DecodePoints(const Matrix& image, const WaymoLaser& laser,
                                                     const Matrix* pixel_poses, const WaymoTransform& pose,
                                                     absl::string_view name) {
  KD_ASSIGN_OR_RETURN(const std::vector<double> inclinations, RowInclinations(laser, image.height, name));
  const double turned = std::atan2(laser.extrinsic[4], laser.extrinsic[0]);
  std::vector<std::array<double, 2>> azimuths;  // cosine, sine
  for (int j = 0; j < image.width; ++j) {
    const double azimuth = (2 * (image.width - j - 0.5) / image.width - 1) * M_PI - turned;
    azimuths.push_back({std::cos(azimuth), std::sin(azimuth)});
  }
  std::vector<WaymoPoint> points;
  for (int i = 0; i < image.height; ++i) {
    const double c = std::cos(inclinations[i]), s = std::sin(inclinations[i]);
    for (int j = 0; j < image.width; ++j) {
      const float* pixel = image.pixel(i, j);
      if (!(pixel[0] > 0)) continue;
      const double range = pixel[0];
      Point p = Apply(laser.extrinsic, {azimuths[j][0] * c * range, azimuths[j][1] * c * range, s * range});
      if (pixel_poses != nullptr) p = ToFramePose(pixel_poses->pixel(i, j), pose, p);
      if (!std::isfinite(p.x + p.y + p.z)) {
        return Damaged(absl::StrCat(name, ": range or pose of row ", i, ", column ", j, " is not finite"));
      }
      points.push_back({.position = {p.x, p.y, p.z},
                        .range = pixel[0],
                        .intensity = pixel[1],
                        .elongation = pixel[2],
                        .in_no_label_zone = pixel[3] == 1});
    }
  }
  return points;
}

absl::StatusOr<std::vector<WaymoLaser>> ParseLasers(const waymo::Context& context) {
  std::vector<WaymoLaser> lasers;
  for (const waymo::LaserCalibration& message : context.laser_calibrations()) {
    const std::string name = absl::StrCat("the calibration of laser ", WaymoLaserName(message.name()));
    WaymoLaser& laser = lasers.emplace_back();
    laser.laser = message.name();
    if (laser.laser < 1 || laser.laser > kLasers) return Damaged(absl::StrCat(name, " is of no laser that there is"));
    laser.inclinations.assign(message.beam_inclinations().begin(), message.beam_inclinations().end());
    laser.inclination_min = message.beam_inclination_min();
    laser.inclination_max = message.beam_inclination_max();
    const bool bounds = message.has_beam_inclination_min() && message.has_beam_inclination_max();
    if (!AllFinite(message.beam_inclinations()) || !std::isfinite(laser.inclination_min + laser.inclination_max) ||
        (laser.inclinations.empty() && !bounds)) {
      return Damaged(absl::StrCat(name, " does not say how its beams are inclined"));
    }
    KD_ASSIGN_OR_RETURN(laser.extrinsic, ParseTransform(message.extrinsic(), absl::StrCat("the extrinsic in ", name)));
  }
  std::sort(lasers.begin(), lasers.end(), [](const WaymoLaser& a, const WaymoLaser& b) { return a.laser < b.laser; });
  for (size_t i = 1; i < lasers.size(); ++i) {
    if (lasers[i].laser == lasers[i - 1].laser) {
      return Damaged(absl::StrCat("laser ", WaymoLaserName(lasers[i].laser), " has two calibrations"));
    }
  }
  return lasers;
}

absl::StatusOr<std::vector<WaymoCamera>> ParseCameras(const waymo::Context& context) {
  std::vector<WaymoCamera> cameras;
  for (const waymo::CameraCalibration& message : context.camera_calibrations()) {
    const std::string name = absl::StrCat("the calibration of camera ", message.name());
    WaymoCamera& camera = cameras.emplace_back();
    camera.camera = message.name();
    camera.width = message.width();
    camera.height = message.height();
    if (camera.camera < 1 || camera.camera > kCameras)
      return Damaged(absl::StrCat(name, " is of no camera that there is"));
    if (message.intrinsic_size() != static_cast<int>(camera.intrinsic.size()) || !AllFinite(message.intrinsic())) {
      return Damaged(absl::StrCat("the intrinsic in ", name, " has ", message.intrinsic_size(),
                                  " numbers, expected 9 finite ones"));
    }
    std::copy(message.intrinsic().begin(), message.intrinsic().end(), camera.intrinsic.begin());
    KD_ASSIGN_OR_RETURN(camera.extrinsic, ParseTransform(message.extrinsic(), absl::StrCat("the extrinsic in ", name)));
  }
  std::sort(cameras.begin(), cameras.end(),
            [](const WaymoCamera& a, const WaymoCamera& b) { return a.camera < b.camera; });
  for (size_t i = 1; i < cameras.size(); ++i) {
    if (cameras[i].camera == cameras[i - 1].camera) {
      return Damaged(absl::StrCat("camera ", cameras[i].camera, " has two calibrations"));
    }
  }
  return cameras;
}

absl::StatusOr<std::vector<WaymoLabel>> ParseLabels(const waymo::Frame& frame) {
  std::vector<WaymoLabel> labels;
  for (const waymo::Label& message : frame.laser_labels()) {
    const waymo::Box& box = message.box();
    WaymoLabel label{.id = message.id(),
                     .type = message.type(),
                     .x = box.center_x(),
                     .y = box.center_y(),
                     .z = box.center_z(),
                     .length = box.length(),
                     .width = box.width(),
                     .height = box.height(),
                     .heading = box.heading(),
                     .speed_x = message.metadata().speed_x(),
                     .speed_y = message.metadata().speed_y(),
                     .num_points = message.num_lidar_points_in_box(),
                     .difficulty = message.detection_difficulty_level()};
    for (const double value : {label.x, label.y, label.z, label.length, label.width, label.height, label.heading,
                               label.speed_x, label.speed_y}) {
      if (!(std::abs(value) <= kLargestNumber)) {
        return Damaged(absl::StrCat("the box or speed of label ", labels.size(), " holds ", value,
                                    ", expected a number up to ", kLargestNumber));
      }
    }
    labels.push_back(std::move(label));
  }
  return labels;
}

absl::Status ParseClouds(const waymo::Frame& message, WaymoFrame& frame) {
  std::set<int> seen;
  size_t room = kMaxInflatedBytes;
  for (const waymo::Laser& laser : message.lasers()) {
    const waymo::RangeImage* returns[] = {&laser.return_1(), &laser.return_2()};
    if (laser.name() < 1 || laser.name() > kLasers) {
      if (returns[0]->range_image_compressed().empty() && returns[1]->range_image_compressed().empty()) continue;
      return Damaged(absl::StrCat("range images of laser ", laser.name(), ", expected 1 to ", kLasers));
    }
    const std::string name = absl::StrCat("laser ", WaymoLaserName(laser.name()));
    if (!seen.insert(laser.name()).second) return Damaged(absl::StrCat(name, " appears twice"));
    Matrix poses;
    for (const int ret : {1, 2}) {
      WaymoCloud cloud{.laser = laser.name(), .ret = ret};
      const std::string& compressed = returns[ret - 1]->range_image_compressed();
      if (!compressed.empty()) {
        const std::string image_name = absl::StrCat("return ", ret, " of ", name);
        const auto calibration = std::find_if(frame.lasers.begin(), frame.lasers.end(),
                                              [&](const WaymoLaser& l) { return l.laser == laser.name(); });
        if (calibration == frame.lasers.end())
          return Damaged(absl::StrCat(name, " has range images and no calibration"));
        KD_ASSIGN_OR_RETURN(const Matrix image, ParseMatrix(compressed, kPixelChannels, image_name, room));
        const bool moving = laser.name() == kWaymoTopLaser;
        if (moving && poses.data.empty()) {
          KD_ASSIGN_OR_RETURN(poses, ParseMatrix(laser.return_1().range_image_pose_compressed(), kPoseChannels,
                                                 absl::StrCat("the pose image of ", name), room));
        }
        if (moving && (poses.height != image.height || poses.width != image.width)) {
          return Damaged(absl::StrCat(image_name, " is ", image.height, " x ", image.width, ", its pose image ",
                                      poses.height, " x ", poses.width));
        }
        KD_ASSIGN_OR_RETURN(cloud.points,
                            DecodePoints(image, *calibration, moving ? &poses : nullptr, frame.pose, image_name));
      }
      frame.clouds.push_back(std::move(cloud));
    }
  }
  std::sort(frame.clouds.begin(), frame.clouds.end(), [](const WaymoCloud& a, const WaymoCloud& b) {
    return std::pair(a.ret, a.laser) < std::pair(b.ret, b.laser);
  });
  return absl::OkStatus();
}

absl::StatusOr<waymo::Frame> ParseMessage(absl::string_view payload) {
  if (payload.size() > kMaxFrameBytes) {
    return Damaged(absl::StrCat("a frame of ", payload.size(), " bytes, at most ", kMaxFrameBytes, " are possible"));
  }
  waymo::Frame message;
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return Damaged("not a Frame message");
  return message;
}

}  // namespace

std::string WaymoTypeName(int type) {
  constexpr const char* kNames[] = {"Unknown", "Vehicle", "Pedestrian", "Sign", "Cyclist"};
  return kNames[type >= kWaymoVehicle && type <= kWaymoCyclist ? type : 0];
}

std::string WaymoLaserName(int laser) {
  constexpr const char* kNames[] = {"TOP", "FRONT", "SIDE_LEFT", "SIDE_RIGHT", "REAR"};
  return laser >= 1 && laser <= kLasers ? kNames[laser - 1] : absl::StrCat(laser);
}

absl::StatusOr<WaymoFrameId> ParseWaymoFrameId(absl::string_view payload) {
  KD_ASSIGN_OR_RETURN(const waymo::Frame message, ParseMessage(payload));
  return WaymoFrameId{.context = message.context().name(), .timestamp_micros = message.timestamp_micros()};
}

absl::StatusOr<WaymoFrame> ParseWaymoFrame(absl::string_view payload) {
  KD_ASSIGN_OR_RETURN(waymo::Frame message, ParseMessage(payload));
  WaymoFrame frame{.context = message.context().name(),
                   .timestamp_micros = message.timestamp_micros(),
                   .time_of_day = message.context().stats().time_of_day(),
                   .location = message.context().stats().location(),
                   .weather = message.context().stats().weather()};
  KD_ASSIGN_OR_RETURN(frame.pose, ParseTransform(message.pose(), "the frame's pose"));
  KD_ASSIGN_OR_RETURN(frame.cameras, ParseCameras(message.context()));
  KD_ASSIGN_OR_RETURN(frame.lasers, ParseLasers(message.context()));
  KD_ASSIGN_OR_RETURN(frame.labels, ParseLabels(message));
  KD_RETURN_IF_ERROR(ParseClouds(message, frame));
  for (waymo::CameraImage& image : *message.mutable_images()) {
    frame.images.push_back({.camera = image.name(), .jpeg = std::move(*image.mutable_image())});
  }
  std::stable_sort(frame.images.begin(), frame.images.end(),
                   [](const WaymoImage& a, const WaymoImage& b) { return a.camera < b.camera; });
  return frame;
}

}  // namespace kd
