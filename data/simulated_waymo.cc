#include "data/simulated_waymo.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"
#include "data/camera_picture.h"
#include "data/laser_scan.h"
#include "data/tfrecord.h"
#include "data/waymo.pb.h"
#include "data/waymo_frame.h"

namespace kd {
namespace {

constexpr uint32_t kFramesPerSegment = 10;
constexpr double kTurnSeconds = 0.1;
constexpr int64_t kFirstTimestamp = 1'500'000'000'000'000, kSegmentGap = 100'000'000;

constexpr int kPixelChannels = 4, kPoseChannels = 6, kProjectionChannels = 6;
constexpr double kTopRange = 75, kNearRange = 20;
// Up to so many points an object is hard.
constexpr int kHardPoints = 5;
// Of light that meets glass or leaves.
constexpr double kGoesOn = 0.5;
// Metres between two returns that the laser can tell apart.
constexpr double kLeastGap = 0.5;

constexpr int kImageWidth = 480;

struct LaserMount {
  int laser;
  Vec3 place;
  double yaw_degrees;
  int rows, columns;
  double min_degrees, max_degrees, max_range;
};
constexpr LaserMount kLasers[] = {{kWaymoTopLaser, {1.43, 0, 2.184}, 148, 64, 1060, -17.6, 2.4, kTopRange},
                                  {2, {4.07, 0, 0.69}, 0, 60, 150, -90, 30, kNearRange},
                                  {3, {3.25, 1.03, 0.98}, 90, 60, 150, -90, 30, kNearRange},
                                  {4, {3.25, -1.03, 0.98}, -90, 60, 150, -90, 30, kNearRange},
                                  {5, {-1.15, 0, 0.46}, 180, 60, 150, -90, 30, kNearRange}};

struct CameraMount {
  int camera;
  Vec3 place;
  double yaw_degrees;
  int height;
};
constexpr double kFocalLength = 514;
constexpr CameraMount kCameras[] = {{1, {1.54, -0.02, 2.11}, 0, 320},
                                    {2, {1.50, 0.1, 2.11}, 45, 320},
                                    {3, {1.50, -0.1, 2.11}, -45, 320},
                                    {4, {1.43, 0.12, 2.11}, 90, 222},
                                    {5, {1.43, -0.12, 2.11}, -90, 222}};

// Waymo's cameras look along x, with y to the left; optical ones along z, with x to the right.
constexpr RigidTransform kOptical{.rotation = {0, 0, 1, -1, 0, 0, 0, -1, 0}};

template <typename Mount>
RigidTransform ToVehicle(const Mount& mount) {
  return {.rotation = RotationOfAngles(0, 0, mount.yaw_degrees * M_PI / 180), .translation = mount.place};
}

LaserPattern PatternOf(const LaserMount& mount) {
  const double yaw = mount.yaw_degrees * M_PI / 180;
  // The first column looks backwards in the vehicle's frame, whichever way the laser is turned.
  LaserPattern pattern{.columns = mount.columns,
                       .first_azimuth = M_PI - M_PI / mount.columns - yaw,
                       .half_field = mount.laser == kWaymoTopLaser ? 4 : M_PI / 2,
                       .max_range = mount.max_range};
  for (int i = 0; i < mount.rows; ++i) {
    pattern.inclinations.push_back(
        (mount.min_degrees + (i + 0.5) / mount.rows * (mount.max_degrees - mount.min_degrees)) * M_PI / 180);
  }
  return pattern;
}

// 0: not labelled.
int TypeOf(DriveKind kind) {
  switch (kind) {
    case DriveKind::kCar:
    case DriveKind::kTruck:
    case DriveKind::kBus:
    case DriveKind::kTrailer:
    case DriveKind::kConstructionVehicle:
    case DriveKind::kMotorcyclist:
      return kWaymoVehicle;
    case DriveKind::kPedestrian:
      return kWaymoPedestrian;
    case DriveKind::kCyclist:
      return kWaymoCyclist;
    case DriveKind::kBicycle:
    case DriveKind::kTrafficCone:
    case DriveKind::kBarrier:
      return kWaymoUnknown;
  }
  return kWaymoUnknown;
}

void Set(const RigidTransform& from, waymo::Transform& to) {
  for (int row = 0; row < 3; ++row) {
    for (int column = 0; column < 3; ++column) to.add_transform(from.rotation[3 * row + column]);
    to.add_transform(from.translation[row]);
  }
  for (const double v : {0.0, 0.0, 0.0, 1.0}) to.add_transform(v);
}

absl::StatusOr<std::string> Deflate(const std::string& bytes) {
  uLongf size = compressBound(bytes.size());
  std::string result(size, '\0');
  if (compress(reinterpret_cast<Bytef*>(result.data()), &size, reinterpret_cast<const Bytef*>(bytes.data()),
               bytes.size()) != Z_OK) {
    return absl::ResourceExhaustedError("no memory to compress a range image; free some and try again");
  }
  result.resize(size);
  return result;
}

template <typename Matrix, typename T>
absl::StatusOr<std::string> DeflateMatrix(int rows, int columns, int channels, const std::vector<T>& data) {
  Matrix matrix;
  for (const int dim : {rows, columns, channels}) matrix.mutable_shape()->add_dims(dim);
  matrix.mutable_data()->Add(data.begin(), data.end());
  return Deflate(matrix.SerializeAsString());
}

// Rows from the highest beam down, without an echo yet.
std::vector<float> EmptyImage(const LaserMount& mount) {
  std::vector<float> image;
  for (int i = 0; i < mount.rows * mount.columns; ++i) image.insert(image.end(), {-1, 0, 0, -1});
  return image;
}

class FrameBuilder {
 public:
  FrameBuilder(const SimulatorOptions& options, const SimulatedWaymoSegment& segment, int number)
      : segment_(segment),
        drive_(segment.drive),
        second_(SimulatedWaymoSecond(number)),
        vehicle_(drive_.VehicleAt(second_)),
        street_to_vehicle_(vehicle_.Inverse()),
        rng_(RngKeyBuilder().Add("Waymo frame").Add(options.seed).Add(segment.context).Add(number).key()) {}

  absl::StatusOr<std::string> Build(int64_t segment_start) {
    frame_.mutable_context()->set_name(segment_.context);
    waymo::Stats& stats = *frame_.mutable_context()->mutable_stats();
    stats.set_time_of_day("Day");
    stats.set_location("simulated");
    stats.set_weather("sunny");
    frame_.set_timestamp_micros(segment_start + std::llround(1e6 * second_));
    Set(drive_.street_to_map * vehicle_, *frame_.mutable_pose());
    for (const LaserMount& mount : kLasers) KD_RETURN_IF_ERROR(AddLaser(mount));
    for (const CameraMount& mount : kCameras) AddCamera(mount);
    AddLabels();
    return frame_.SerializeAsString();
  }

 private:
  // Of the vehicle while the laser looks along each column; one for all when it does not take its time.
  std::vector<RigidTransform> VehiclePoses(const LaserMount& mount) const {
    if (mount.laser != kWaymoTopLaser) return {vehicle_};
    std::vector<RigidTransform> poses;
    for (int column = 0; column < mount.columns; ++column) {
      poses.push_back(drive_.VehicleAt(second_ + ((column + 0.5) / mount.columns - 0.5) * kTurnSeconds));
    }
    return poses;
  }

  absl::Status AddLaser(const LaserMount& mount) {
    const RigidTransform extrinsic = ToVehicle(mount);
    waymo::LaserCalibration& calibration = *frame_.mutable_context()->add_laser_calibrations();
    calibration.set_name(mount.laser);
    calibration.set_beam_inclination_min(mount.min_degrees * M_PI / 180);
    calibration.set_beam_inclination_max(mount.max_degrees * M_PI / 180);
    const LaserPattern pattern = PatternOf(mount);
    // As in real files, where the beams of the others are evenly spaced.
    if (mount.laser == kWaymoTopLaser) {
      calibration.mutable_beam_inclinations()->Add(pattern.inclinations.begin(), pattern.inclinations.end());
    }
    Set(extrinsic, *calibration.mutable_extrinsic());

    const std::vector<RigidTransform> vehicle_poses = VehiclePoses(mount);
    std::vector<RigidTransform> laser_poses;
    for (const RigidTransform& pose : vehicle_poses) laser_poses.push_back(pose * extrinsic);
    const Vec3& at = laser_poses.front().translation;
    const std::vector<Primitive> solids = drive_.SolidsAt(second_, at[0], at[1], mount.max_range + 2);
    const LaserView view = CastRays(solids, pattern, laser_poses, drive_.objects.size());
    std::array<std::vector<float>, 2> images = {EmptyImage(mount), EmptyImage(mount)};
    const std::vector<int32_t> unseen(view.rays.size() * kProjectionChannels);
    std::array<std::vector<int32_t>, 2> projections = {unseen, unseen};
    for (int row = 0; row < mount.rows; ++row) {
      for (int column = 0; column < mount.columns; ++column) {
        const size_t pixel = static_cast<size_t>(mount.rows - 1 - row) * mount.columns + column;
        const RigidTransform& pose = laser_poses[laser_poses.size() == 1 ? 0 : column];
        const auto put = [&](int ret, double range, double intensity, double elongation) {
          const float values[] = {static_cast<float>(range), static_cast<float>(intensity),
                                  static_cast<float>(elongation), -1};
          std::copy(std::begin(values), std::end(values), &images[ret][kPixelChannels * pixel]);
          const Vec3 direction = pattern.DirectionOf(row, column);
          const Vec3 point = pose.Apply({values[0] * direction[0], values[0] * direction[1], values[0] * direction[2]});
          points_.push_back(street_to_vehicle_.Apply(point));
          Project(points_.back(), &projections[ret][kProjectionChannels * pixel]);
        };
        AddEchoes(view.rays[static_cast<size_t>(row) * mount.columns + column], solids, mount.max_range, put);
      }
    }
    waymo::Laser& laser = *frame_.add_lasers();
    laser.set_name(mount.laser);
    waymo::RangeImage* const returns[] = {laser.mutable_return_1(), laser.mutable_return_2()};
    for (int i = 0; i < 2; ++i) {
      KD_ASSIGN_OR_RETURN(*returns[i]->mutable_range_image_compressed(),
                          DeflateMatrix<waymo::MatrixFloat>(mount.rows, mount.columns, kPixelChannels, images[i]));
      KD_ASSIGN_OR_RETURN(
          *returns[i]->mutable_camera_projection_compressed(),
          DeflateMatrix<waymo::MatrixInt32>(mount.rows, mount.columns, kProjectionChannels, projections[i]));
    }
    if (mount.laser != kWaymoTopLaser) return absl::OkStatus();
    std::vector<float> row_of_poses, poses;
    for (const RigidTransform& pose : vehicle_poses) {
      const RigidTransform in_world = drive_.street_to_map * pose;
      const Angles angles = AnglesOfRotation(in_world.rotation);
      for (const double v : {angles.roll, angles.pitch, angles.yaw}) row_of_poses.push_back(static_cast<float>(v));
      for (const double v : in_world.translation) row_of_poses.push_back(static_cast<float>(v));
    }
    for (int row = 0; row < mount.rows; ++row) poses.insert(poses.end(), row_of_poses.begin(), row_of_poses.end());
    KD_ASSIGN_OR_RETURN(*returns[0]->mutable_range_image_pose_compressed(),
                        DeflateMatrix<waymo::MatrixFloat>(mount.rows, mount.columns, kPoseChannels, poses));
    return absl::OkStatus();
  }

  // Calls put(return from 0, range, intensity, elongation) for what comes back along a ray.
  template <typename Put>
  void AddEchoes(const RayHits& hits, const std::vector<Primitive>& solids, double max_range, const Put& put) {
    const auto reflectivity = [&](int solid) { return solid >= 0 ? solids[solid].reflectivity : kGroundReflectivity; };
    const Echo first = Measure(rng_, hits.first, reflectivity(hits.first_solid), max_range);
    const Echo second = Measure(rng_, hits.second, reflectivity(hits.second_solid), max_range);
    const double pass = rng_.Uniform(), length = rng_.Uniform();
    if (!first.returned) return;
    const Surface surface = hits.first_solid >= 0 ? solids[hits.first_solid].surface : Surface::kPaint;
    put(0, first.range, first.reflectivity, surface == Surface::kLeaves ? 0.6 * length : 0.05 * length);
    const bool porous = surface == Surface::kLeaves || surface == Surface::kGlass;
    if (porous && pass < kGoesOn && second.returned && second.range - first.range > kLeastGap) {
      put(1, second.range, (1 - kGoesOn) * second.reflectivity, 0.05 * length);
    }
  }

  // Writes the first two cameras that see a point of the vehicle's frame, and where.
  static void Project(const Vec3& point, int32_t* projection) {
    int seen = 0;
    for (const CameraMount& mount : kCameras) {
      const Vec3 p = (ToVehicle(mount) * kOptical).Inverse().Apply(point);
      if (p[2] <= 0) continue;
      const double u = kFocalLength * p[0] / p[2] + kImageWidth / 2.0;
      const double v = kFocalLength * p[1] / p[2] + mount.height / 2.0;
      if (!(u >= 0 && u < kImageWidth && v >= 0 && v < mount.height)) continue;
      for (const double value : {static_cast<double>(mount.camera), u, v}) *projection++ = static_cast<int32_t>(value);
      if (++seen == 2) return;
    }
  }

  void AddCamera(const CameraMount& mount) {
    const RigidTransform extrinsic = ToVehicle(mount);
    waymo::CameraCalibration& calibration = *frame_.mutable_context()->add_camera_calibrations();
    calibration.set_name(mount.camera);
    const double middle_u = kImageWidth / 2.0, middle_v = mount.height / 2.0;
    for (const double v : {kFocalLength, kFocalLength, middle_u, middle_v, 0.0, 0.0, 0.0, 0.0, 0.0}) {
      calibration.add_intrinsic(v);
    }
    Set(extrinsic, *calibration.mutable_extrinsic());
    calibration.set_width(kImageWidth);
    calibration.set_height(mount.height);
    waymo::CameraImage& image = *frame_.add_images();
    image.set_name(mount.camera);
    const PictureCamera camera{.width = kImageWidth,
                               .height = mount.height,
                               .intrinsic = {kFocalLength, 0, middle_u, 0, kFocalLength, middle_v, 0, 0, 1},
                               .camera_to_street = vehicle_ * extrinsic * kOptical};
    image.set_image(EncodeJpeg(DrawPicture(drive_, second_, camera), kImageWidth, mount.height));
  }

  void AddLabels() {
    for (size_t i = 0; i < drive_.objects.size(); ++i) {
      const DriveObject& object = drive_.objects[i];
      if (TypeOf(object.kind) == kWaymoUnknown) continue;
      // Upright in the vehicle's frame, as all labels.
      RigidTransform box = street_to_vehicle_ * object.BoxAt(second_);
      const double heading = box.Yaw();
      box.rotation = RotationOfAngles(0, 0, heading);
      const int inside = PointsInBox(points_, box, object.size);
      if (inside == 0) continue;
      waymo::Label& label = *frame_.add_laser_labels();
      label.set_type(TypeOf(object.kind));
      label.set_id(absl::StrFormat("%s_%04d", segment_.context, i));
      label.set_num_lidar_points_in_box(inside);
      label.set_detection_difficulty_level(inside <= kHardPoints ? 2 : 1);
      const Vec3 velocity =
          drive_.street_to_map.Rotate({object.speed * std::cos(object.yaw), object.speed * std::sin(object.yaw), 0});
      label.mutable_metadata()->set_speed_x(velocity[0]);
      label.mutable_metadata()->set_speed_y(velocity[1]);
      waymo::Box& to = *label.mutable_box();
      to.set_center_x(box.translation[0]);
      to.set_center_y(box.translation[1]);
      to.set_center_z(box.translation[2]);
      to.set_length(object.size.l);
      to.set_width(object.size.w);
      to.set_height(object.size.h);
      to.set_heading(heading);
    }
  }

  const SimulatedWaymoSegment& segment_;
  const DriveScene& drive_;
  const double second_;
  // To the street.
  const RigidTransform vehicle_, street_to_vehicle_;
  CounterRng rng_;
  waymo::Frame frame_;
  // Of all lasers and returns, in the vehicle's frame.
  std::vector<Vec3> points_;
};

uint32_t SegmentsOf(uint32_t frames) { return (frames + kFramesPerSegment - 1) / kFramesPerSegment; }

}  // namespace

double SimulatedWaymoSecond(int frame) { return kTurnSeconds * (frame + 1); }

uint32_t NumWaymoSegments(const SimulatorOptions& options) {
  return SegmentsOf(options.train_frames) + SegmentsOf(options.val_frames);
}

SimulatedWaymoSegment DrawWaymoSegment(const SimulatorOptions& options, uint32_t index) {
  const bool training = index < SegmentsOf(options.train_frames);
  const uint32_t number = training ? index : index - SegmentsOf(options.train_frames);
  const uint32_t frames = (training ? options.train_frames : options.val_frames) - number * kFramesPerSegment;
  SimulatedWaymoSegment segment{.context = absl::StrFormat("simulated_%s_%06d", training ? "train" : "val", number),
                                .folder = training ? "training" : "validation",
                                .frames = static_cast<int>(std::min(frames, kFramesPerSegment))};
  CounterRng rng(RngKeyBuilder().Add("Waymo segment").Add(options.seed).Add(segment.context).key());
  segment.drive = DrawDriveScene(rng, SimulatedWaymoSecond(segment.frames));
  return segment;
}

absl::Status WriteSimulatedWaymo(const SimulatorOptions& options, const SimulatorProgress& progress) {
  KD_RETURN_IF_ERROR(ClaimSimulatorFolder(options, "waymo", "training"));
  const uint32_t total = options.train_frames + options.val_frames;
  uint32_t done = 0;
  for (uint32_t i = 0; i < NumWaymoSegments(options); ++i) {
    const SimulatedWaymoSegment segment = DrawWaymoSegment(options, i);
    KD_RETURN_IF_ERROR(CreateFolders(absl::StrCat(options.root, "/", segment.folder)));
    const std::string path =
        absl::StrCat(options.root, "/", segment.folder, "/segment-", segment.context, "_with_camera_labels.tfrecord");
    const bool there = std::filesystem::exists(path);
    std::string bytes;
    for (int frame = 0; frame < segment.frames; ++frame) {
      if (!there) {
        KD_ASSIGN_OR_RETURN(const std::string payload,
                            FrameBuilder(options, segment, frame).Build(kFirstTimestamp + i * kSegmentGap));
        bytes += FrameTfRecord(payload);
      }
      if (progress) progress(++done, total);
    }
    if (!there) KD_RETURN_IF_ERROR(WriteFileAtomically(path, bytes));
  }
  return absl::OkStatus();
}

}  // namespace kd
