#include "data/simulator.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/status.h"
#include "data/kitti_calib.h"
#include "data/street_scene.h"

namespace kd {
namespace {

constexpr int kBeams = 32;
constexpr int kAzimuths = 320;
constexpr double kMinElevation = -22 * M_PI / 180, kMaxElevation = 3 * M_PI / 180;
constexpr double kHalfField = 50 * M_PI / 180;
constexpr double kMaxRange = 60;
constexpr double kRangeNoise = 0.02;
constexpr double kMinX = 0, kMaxX = 38.4, kMaxY = 19.2, kMinZ = -3, kMaxZ = 2;
constexpr int kMinHits = 4;

double Elevation(int beam) { return kMinElevation + (kMaxElevation - kMinElevation) * beam / (kBeams - 1); }
double Azimuth(int column) { return -kHalfField + 2 * kHalfField * (column + 0.5) / kAzimuths; }

struct Pixel {
  double range = 1e9;
  int primitive = -1;  // -1: ground
};

// Nearest hit per ray, and for each object how many rays meet it at all.
struct DepthImage {
  std::vector<Pixel> pixels = std::vector<Pixel>(kBeams * kAzimuths);
  std::vector<int> rays_on_object;
};

// Columns that can meet a primitive: its circle seen from the sensor.
void ColumnsOf(const Box3d& box, int& first, int& last) {
  const double distance = std::hypot(box.x, box.y), radius = 0.5 * std::hypot(box.dx, box.dy) + 0.01;
  first = 0;
  last = kAzimuths - 1;
  if (distance <= radius) return;
  const double centre = std::atan2(box.y, box.x), half = std::asin(radius / distance);
  first =
      std::max(first, static_cast<int>(std::floor((centre - half + kHalfField) / (2 * kHalfField) * kAzimuths - 0.5)));
  last = std::min(last, static_cast<int>(std::ceil((centre + half + kHalfField) / (2 * kHalfField) * kAzimuths - 0.5)));
}

DepthImage CastRays(const StreetScene& scene) {
  DepthImage image;
  image.rays_on_object.resize(scene.objects.size());
  std::vector<std::vector<bool>> seen(scene.objects.size());
  for (int beam = 0; beam < kBeams; ++beam) {
    const double ce = std::cos(Elevation(beam)), se = std::sin(Elevation(beam));
    for (int column = 0; column < kAzimuths; ++column) {
      // The plane z = ground(x, y).
      const double dx = ce * std::cos(Azimuth(column)), dy = ce * std::sin(Azimuth(column));
      const double fall = scene.slope_x * dx + scene.slope_y * dy - se;
      if (fall > 1e-9) image.pixels[beam * kAzimuths + column].range = -scene.ground_z / fall;
    }
  }
  for (size_t p = 0; p < scene.primitives.size(); ++p) {
    const Primitive& primitive = scene.primitives[p];
    const RayTarget target(primitive);
    int first, last;
    ColumnsOf(primitive.box, first, last);
    for (int column = first; column <= last; ++column) {
      const double ca = std::cos(Azimuth(column)), sa = std::sin(Azimuth(column));
      for (int beam = 0; beam < kBeams; ++beam) {
        const double ce = std::cos(Elevation(beam)), se = std::sin(Elevation(beam));
        const double range = target.Hit({0, 0, 0}, {ce * ca, ce * sa, se});
        if (range < 0) continue;
        const size_t at = beam * kAzimuths + column;
        if (primitive.object >= 0) {
          std::vector<bool>& rays = seen[primitive.object];
          if (rays.empty()) rays.resize(kBeams * kAzimuths);
          if (!rays[at]) ++image.rays_on_object[primitive.object];
          rays[at] = true;
        }
        if (range < image.pixels[at].range) image.pixels[at] = {.range = range, .primitive = static_cast<int>(p)};
      }
    }
  }
  return image;
}

}  // namespace

SimulatedFrame SimulateFrame(uint64_t seed) {
  CounterRng rng(RngKeyBuilder().Add("simulated frame").Add(seed).key());
  const StreetScene scene = DrawStreetScene(rng);
  const DepthImage image = CastRays(scene);

  SimulatedFrame result;
  std::vector<int> hits(scene.objects.size());
  for (int beam = 0; beam < kBeams; ++beam) {
    for (int column = 0; column < kAzimuths; ++column) {
      const Pixel& pixel = image.pixels[beam * kAzimuths + column];
      const double reflectivity = pixel.primitive >= 0 ? scene.primitives[pixel.primitive].reflectivity : 0.25;
      // Every ray draws the same number of values, so that one object's change leaves the noise of the others alone.
      const double drop = rng.Uniform(), range_noise = rng.Normal(), intensity_noise = rng.Normal();
      if (pixel.range > kMaxRange) continue;
      const double lost =
          0.05 + 0.25 * (pixel.range / kMaxRange) * (pixel.range / kMaxRange) + (reflectivity < 0.08 ? 0.25 : 0);
      if (drop < lost) continue;
      const double range = pixel.range + kRangeNoise * range_noise;
      const double ce = std::cos(Elevation(beam)), se = std::sin(Elevation(beam));
      result.frame.points.push_back(static_cast<float>(range * ce * std::cos(Azimuth(column))));
      result.frame.points.push_back(static_cast<float>(range * ce * std::sin(Azimuth(column))));
      result.frame.points.push_back(static_cast<float>(range * se));
      result.frame.points.push_back(
          static_cast<float>(std::clamp(reflectivity * (1 + 0.15 * intensity_noise), 0.0, 1.0)));
      if (pixel.primitive >= 0 && scene.primitives[pixel.primitive].object >= 0)
        ++hits[scene.primitives[pixel.primitive].object];
    }
  }
  // Detectors keep the first points of a full voxel: in the order of the beams that would be the lowest ones.
  std::vector<float>& points = result.frame.points;
  for (size_t i = points.size() / 4; i > 1; --i) {
    if (const size_t j = rng.Below(i); j + 1 < i)
      std::swap_ranges(&points[(i - 1) * 4], &points[i * 4 - 1] + 1, &points[j * 4]);
  }
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const Box3d& b = scene.objects[i].box;
    if (hits[i] < kMinHits || b.x < kMinX || b.x >= kMaxX || std::abs(b.y) >= kMaxY || b.z < kMinZ || b.z >= kMaxZ)
      continue;
    result.frame.boxes.push_back(scene.objects[i]);
    result.hits.push_back(hits[i]);
    result.occlusion.push_back(1.0f - static_cast<float>(hits[i]) /
                                          static_cast<float>(std::max(image.rays_on_object[i], hits[i])));
  }
  return result;
}

namespace {

// The sensor's own place and directions; the image holds the whole field of view.
KittiCalib SensorCamera() {
  KittiCalib calib{};
  calib.p2 = {515, 0, 621, 0, 0, 515, 48, 0, 0, 0, 1, 0};
  calib.r0_rect = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  calib.tr_velo_to_cam = {0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0};
  return calib;
}

int OcclusionLevel(float hidden) { return hidden < 0.35f ? 0 : hidden < 0.6f ? 1 : 2; }

absl::Status WriteFrame(const std::string& root, const std::string& name, const SimulatedFrame& simulated) {
  const KittiCalib calib = SensorCamera();
  std::string labels;
  for (size_t i = 0; i < simulated.frame.boxes.size(); ++i) {
    const LabeledBox& box = simulated.frame.boxes[i];
    KittiObject object = LidarToKitti(box.box, kSimulatedClasses[box.label], 0, calib, {});
    object.truncated = 0;
    object.occluded = OcclusionLevel(simulated.occlusion[i]);
    absl::StrAppend(&labels, FormatKittiObject(object, KittiText::kLabels), "\n");
  }
  const std::vector<float>& points = simulated.frame.points;
  KD_RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(root, "/training/velodyne/", name, ".bin"),
                          {reinterpret_cast<const char*>(points.data()), points.size() * sizeof(float)}));
  KD_RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(root, "/training/calib/", name, ".txt"), FormatKittiCalib(calib)));
  // Last: a frame with labels is complete.
  return WriteFileAtomically(absl::StrCat(root, "/training/label_2/", name, ".txt"), labels);
}

}  // namespace

absl::Status ClaimSimulatorFolder(const SimulatorOptions& options, const std::string& layout, const std::string& part) {
  const std::string note =
      absl::StrCat("kdfleet simulator 1: ", layout, layout.empty() ? "" : " ", "train ", options.train_frames, " val ",
                   options.val_frames, " seed ", options.seed, "\n");
  const std::string note_path = options.root + "/simulator.txt";
  const absl::StatusOr<std::string> existing = ReadFile(note_path);
  if (existing.ok() && *existing != note) {
    return absl::FailedPreconditionError(absl::StrCat(options.root, " holds other simulated frames (",
                                                      existing->substr(0, 80),
                                                      "); choose another folder or delete it"));
  }
  if (!existing.ok() && std::filesystem::exists(absl::StrCat(options.root, "/", part))) {
    return absl::FailedPreconditionError(
        absl::StrCat(options.root, " holds a data set already; choose another folder"));
  }
  KD_RETURN_IF_ERROR(CreateFolders(options.root));
  return WriteFileAtomically(note_path, note);
}

absl::Status WriteSimulatedKitti(const SimulatorOptions& options, const SimulatorProgress& progress) {
  KD_RETURN_IF_ERROR(ClaimSimulatorFolder(options, "", "training"));
  for (const char* part : {"/ImageSets", "/training/velodyne", "/training/calib", "/training/label_2"}) {
    KD_RETURN_IF_ERROR(CreateFolders(options.root + part));
  }

  const uint32_t total = options.train_frames + options.val_frames;
  std::string train, val;
  for (uint32_t i = 0; i < total; ++i) {
    const std::string name = absl::StrFormat("%06d", i);
    const bool training = i < options.train_frames;
    absl::StrAppend(training ? &train : &val, name, "\n");
    if (!std::filesystem::exists(absl::StrCat(options.root, "/training/label_2/", name, ".txt"))) {
      const uint64_t seed = RngKeyBuilder().Add(training ? "train" : "val").Add(options.seed).Add(i).key();
      KD_RETURN_IF_ERROR(WriteFrame(options.root, name, SimulateFrame(seed)));
    }
    if (progress) progress(i + 1, total);
  }
  KD_RETURN_IF_ERROR(WriteFileAtomically(options.root + "/ImageSets/train.txt", train));
  KD_RETURN_IF_ERROR(WriteFileAtomically(options.root + "/ImageSets/val.txt", val));
  return WriteFileAtomically(options.root + "/ImageSets/trainval.txt", train + val);
}

}  // namespace kd
