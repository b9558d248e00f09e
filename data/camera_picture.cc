#include "data/camera_picture.h"

// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>

namespace kd {
namespace {

constexpr double kSight = 90;
constexpr double kNearest = 0.2;
constexpr int kQuality = 90;
constexpr Vec3 kLight = {0.37, 0.28, 0.886};

struct PixelRect {
  int left = 0, top = 0, right = -1, bottom = -1;
};

// Pixels that can show the box; nothing when it is behind the camera.
std::optional<PixelRect> RectOf(const Box3d& box, const PictureCamera& camera, const RigidTransform& street_to_camera) {
  const RigidTransform place{.rotation = RotationOfAngles(0, 0, box.yaw), .translation = {box.x, box.y, box.z}};
  double left = 1e9, top = 1e9, right = -1e9, bottom = -1e9;
  bool before = false, behind = false;
  for (int corner = 0; corner < 8; ++corner) {
    const Vec3 own = {(corner & 1 ? 0.5 : -0.5) * box.dx, (corner & 2 ? 0.5 : -0.5) * box.dy,
                      (corner & 4 ? 0.5 : -0.5) * box.dz};
    const Vec3 p = street_to_camera.Apply(place.Apply(own));
    (p[2] > kNearest ? before : behind) = true;
    if (p[2] <= kNearest) continue;
    const double u = camera.intrinsic[0] * p[0] / p[2] + camera.intrinsic[2];
    const double v = camera.intrinsic[4] * p[1] / p[2] + camera.intrinsic[5];
    left = std::min(left, u);
    right = std::max(right, u);
    top = std::min(top, v);
    bottom = std::max(bottom, v);
  }
  if (!before) return std::nullopt;
  const PixelRect all{0, 0, camera.width - 1, camera.height - 1};
  if (behind) return all;
  const auto bound = [](double v, int most) { return static_cast<int>(std::clamp<double>(v, -1, most)); };
  return PixelRect{std::max(bound(std::floor(left), camera.width), 0),
                   std::max(bound(std::floor(top), camera.height), 0),
                   std::min(bound(std::ceil(right), camera.width), all.right),
                   std::min(bound(std::ceil(bottom), camera.height), all.bottom)};
}

// In [-1, 1], the same for all points of a cell.
double Grain(double x, double y, double z, double cell) {
  const auto part = [&](double v) { return static_cast<uint64_t>(static_cast<int64_t>(std::floor(v / cell))); };
  CounterRng rng(part(x) * 0x9e3779b97f4a7c15u ^ part(y) * 0xc2b2ae3d27d4eb4fu ^ part(z) * 0x165667b19e3779f9u);
  return 2 * rng.Uniform() - 1;
}

using Tone = std::array<double, 3>;

Tone Scaled(const Tone& tone, double factor) { return {tone[0] * factor, tone[1] * factor, tone[2] * factor}; }

Tone SkyTone(double up) {
  const double share = std::clamp(up * 2.5, 0.0, 1.0);
  return {215 - 80 * share, 225 - 50 * share, 235 - 5 * share};
}

Tone GroundTone(const DriveScene& scene, const Vec3& at) {
  const double aside = std::abs(at[1]);
  const bool dash = aside < 0.08 && at[0] - 6 * std::floor(at[0] / 6) < 3;
  if (dash) return {225, 225, 220};
  const double grain = Grain(at[0], at[1], 0, 0.25);
  if (aside < scene.half_width) return {88 + 6 * grain, 88 + 6 * grain, 92 + 6 * grain};
  if (aside < scene.half_width + 0.15) return {185, 183, 178};
  return {140 + 9 * grain, 136 + 9 * grain, 128 + 9 * grain};
}

Tone SolidTone(const Primitive& solid, const RayTarget& target, const Vec3& at) {
  const Vec3 normal = target.NormalAt(at);
  const double lit = normal[0] * kLight[0] + normal[1] * kLight[1] + normal[2] * kLight[2];
  const double shade = 0.55 + 0.45 * std::max(lit, 0.0);
  const Tone color = {static_cast<double>(solid.color[0]), static_cast<double>(solid.color[1]),
                      static_cast<double>(solid.color[2])};
  switch (solid.surface) {
    case Surface::kPaint:
      return Scaled(color, shade);
    case Surface::kGlass:
      return Scaled({70, 85, 100}, 0.6 + 0.6 * std::max(lit, 0.0));
    case Surface::kDark:
      return Scaled({45, 45, 48}, shade);
    case Surface::kSkin:
      return Scaled({205, 165, 140}, shade);
    case Surface::kLeaves:
      return Scaled({75, 125, 60}, shade * (1 + 0.35 * Grain(at[0], at[1], at[2], 0.12)));
    case Surface::kFacade: {
      const Vec3 own = target.ToOwn(at);
      const auto within = [](double v, double period, double from, double to) {
        const double phase = v - period * std::floor(v / period);
        return phase > from && phase < to;
      };
      const bool window = solid.box.dz > 2.5 && std::abs(normal[2]) < 0.5 && within(own[0] + own[1], 2, 0.6, 1.5) &&
                          within(at[2], 2.4, 0.9, 2);
      return Scaled(window ? Tone{80, 95, 110} : color, shade);
    }
  }
  return color;
}

}  // namespace

std::vector<uint8_t> DrawPicture(const DriveScene& scene, double time, const PictureCamera& camera) {
  const Vec3& eye = camera.camera_to_street.translation;
  const std::vector<Primitive> solids = scene.SolidsAt(time, eye[0], eye[1], kSight);
  const RigidTransform street_to_camera = camera.camera_to_street.Inverse();
  const size_t pixels = static_cast<size_t>(camera.width) * camera.height;
  std::vector<Vec3> directions;
  directions.reserve(pixels);
  for (int v = 0; v < camera.height; ++v) {
    for (int u = 0; u < camera.width; ++u) {
      directions.push_back(camera.camera_to_street.Rotate(
          {(u - camera.intrinsic[2]) / camera.intrinsic[0], (v - camera.intrinsic[5]) / camera.intrinsic[4], 1}));
    }
  }
  std::vector<RayTarget> targets;
  for (const Primitive& solid : solids) targets.emplace_back(solid);
  std::vector<double> depths(pixels, 1e9);
  std::vector<int> nearest(pixels, -1);
  for (size_t i = 0; i < solids.size(); ++i) {
    const std::optional<PixelRect> rect = RectOf(solids[i].box, camera, street_to_camera);
    if (!rect.has_value()) continue;
    for (int v = rect->top; v <= rect->bottom; ++v) {
      for (int u = rect->left; u <= rect->right; ++u) {
        const size_t at = static_cast<size_t>(v) * camera.width + u;
        const double depth = targets[i].Hit(eye, directions[at]);
        if (depth <= 0 || depth >= depths[at]) continue;
        depths[at] = depth;
        nearest[at] = static_cast<int>(i);
      }
    }
  }
  std::vector<uint8_t> rgb;
  rgb.reserve(3 * pixels);
  for (size_t at = 0; at < pixels; ++at) {
    const Vec3& direction = directions[at];
    double depth = depths[at];
    const double ground = direction[2] < -1e-9 ? -eye[2] / direction[2] : 1e9;
    if (ground < depth) {
      depth = ground;
      nearest[at] = -1;
    }
    const double length = std::hypot(direction[0], direction[1], direction[2]);
    const Vec3 point = {eye[0] + depth * direction[0], eye[1] + depth * direction[1], eye[2] + depth * direction[2]};
    Tone tone = SkyTone(std::max(direction[2] / length, 0.0));
    if (depth < 1e9) {
      const Tone sky = tone;
      tone = nearest[at] < 0 ? GroundTone(scene, point) : SolidTone(solids[nearest[at]], targets[nearest[at]], point);
      const double haze = 1 - std::exp(-depth * length / 220);
      for (int c = 0; c < 3; ++c) tone[c] += haze * (sky[c] - tone[c]);
    }
    for (const double v : tone) rgb.push_back(static_cast<uint8_t>(std::clamp(v, 0.0, 255.0)));
  }
  return rgb;
}

std::string EncodeJpeg(const std::vector<uint8_t>& rgb, int width, int height) {
  // Nothing can go wrong but memory, where the library's own handler ends the program.
  jpeg_compress_struct encoder;
  jpeg_error_mgr errors;
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT(google-runtime-int): the library's type.
  jpeg_mem_dest(&encoder, &bytes, &size);
  encoder.image_width = static_cast<JDIMENSION>(width);
  encoder.image_height = static_cast<JDIMENSION>(height);
  encoder.input_components = 3;
  encoder.in_color_space = JCS_RGB;
  jpeg_set_defaults(&encoder);
  jpeg_set_quality(&encoder, kQuality, TRUE);
  jpeg_start_compress(&encoder, TRUE);
  while (encoder.next_scanline < encoder.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(&rgb[static_cast<size_t>(encoder.next_scanline) * width * 3]);
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  std::string result(reinterpret_cast<const char*>(bytes), size);
  jpeg_destroy_compress(&encoder);
  std::free(bytes);
  return result;
}

}  // namespace kd
