#include "data/kitti_calib.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace kd {
namespace {

constexpr double kLargestNumber = 1e9;
constexpr double kRotationTolerance = 0.01;
// Nearer to the camera's plane than this, in metres, projections are meaningless.
constexpr double kNear = 0.1;

double WrapAngle(double angle) { return angle - 2 * M_PI * std::floor(angle / (2 * M_PI) + 0.5); }

// Rows of a 3x3 matrix times a vector; `stride` is the row length.
Vec3 Rotate(const double* m, int stride, const Vec3& v) {
  Vec3 out;
  for (int i = 0; i < 3; ++i) out[i] = m[i * stride] * v[0] + m[i * stride + 1] * v[1] + m[i * stride + 2] * v[2];
  return out;
}

double Det3(double a, double b, double c, double d, double e, double f, double g, double h, double i) {
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
}

// Determinant of the left 3x3 part of rows of `stride`.
double Determinant(const double* m, int stride) {
  const double *r0 = m, *r1 = m + stride, *r2 = m + 2 * stride;
  return Det3(r0[0], r0[1], r0[2], r1[0], r1[1], r1[2], r2[0], r2[1], r2[2]);
}

// Solves m * x = v by Cramer's rule.
Vec3 Solve(const double* m, int stride, const Vec3& v) {
  const auto at = [&](int r, int c) { return m[r * stride + c]; };
  const double det = Determinant(m, stride);
  return {Det3(v[0], at(0, 1), at(0, 2), v[1], at(1, 1), at(1, 2), v[2], at(2, 1), at(2, 2)) / det,
          Det3(at(0, 0), v[0], at(0, 2), at(1, 0), v[1], at(1, 2), at(2, 0), v[2], at(2, 2)) / det,
          Det3(at(0, 0), at(0, 1), v[0], at(1, 0), at(1, 1), v[1], at(2, 0), at(2, 1), v[2]) / det};
}

template <size_t N>
std::string FormatRow(absl::string_view key, const std::array<double, N>& values) {
  std::string row = absl::StrCat(key, ":");
  for (const double value : values) absl::StrAppendFormat(&row, " %.12e", value);
  return row + "\n";
}

}  // namespace

Vec3 KittiCalib::LidarToCamera(const Vec3& lidar) const {
  Vec3 camera = Rotate(tr_velo_to_cam.data(), 4, lidar);
  for (int i = 0; i < 3; ++i) camera[i] += tr_velo_to_cam[i * 4 + 3];
  return Rotate(r0_rect.data(), 3, camera);
}

Vec3 KittiCalib::CameraToLidar(const Vec3& camera) const {
  Vec3 v = Solve(r0_rect.data(), 3, camera);
  for (int i = 0; i < 3; ++i) v[i] -= tr_velo_to_cam[i * 4 + 3];
  return Solve(tr_velo_to_cam.data(), 4, v);
}

Vec3 KittiCalib::CameraToImage(const Vec3& camera) const {
  Vec3 pixel = Rotate(p2.data(), 4, camera);
  for (int i = 0; i < 3; ++i) pixel[i] += p2[i * 4 + 3];
  return {pixel[0] / pixel[2], pixel[1] / pixel[2], pixel[2]};
}

absl::StatusOr<KittiCalib> ParseKittiCalib(absl::string_view text, absl::string_view file_name) {
  KittiCalib calib{};
  struct Wanted {
    absl::string_view key;
    double* values;
    size_t count;
    int line = 0;  // 0: not found
  };
  std::array<Wanted, 3> wanted = {Wanted{"P2", calib.p2.data(), calib.p2.size()},
                                  Wanted{"R0_rect", calib.r0_rect.data(), calib.r0_rect.size()},
                                  Wanted{"Tr_velo_to_cam", calib.tr_velo_to_cam.data(), calib.tr_velo_to_cam.size()}};
  int line_number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) continue;
    const auto entry =
        std::find_if(wanted.begin(), wanted.end(), [&](const Wanted& w) { return w.key == line.substr(0, colon); });
    if (entry == wanted.end()) continue;
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line.substr(colon + 1), absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (fields.size() != entry->count) {
      return absl::InvalidArgumentError(absl::StrCat(file_name, ":", line_number, ": ", entry->key, " has ",
                                                     fields.size(), " values, expected ", entry->count,
                                                     "; copy the file anew"));
    }
    for (size_t i = 0; i < fields.size(); ++i) {
      if (!absl::SimpleAtod(fields[i], &entry->values[i]) || !(std::abs(entry->values[i]) <= kLargestNumber)) {
        return absl::InvalidArgumentError(absl::StrCat(file_name, ":", line_number, ": \"",
                                                       absl::CHexEscape(fields[i].substr(0, 40)), "\" in ", entry->key,
                                                       " is not a number of at most 1e9; copy the file anew"));
      }
    }
    entry->line = line_number;
  }
  for (const Wanted& entry : wanted) {
    if (entry.line == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_name, ": no line \"", entry.key, ": ...\"; copy the file anew"));
    }
  }
  // Boxes go through the inverse: it must exist. Rounding in the files moves a determinant by 1e-5.
  for (const Wanted& entry : {wanted[1], wanted[2]}) {
    const double determinant = Determinant(entry.values, static_cast<int>(entry.count / 3));
    if (!(std::abs(determinant - 1) < kRotationTolerance)) {
      return absl::InvalidArgumentError(absl::StrCat(file_name, ":", entry.line, ": ", entry.key,
                                                     " is no rotation (determinant ", determinant,
                                                     ", expected 1); copy the file anew"));
    }
  }
  return calib;
}

std::string FormatKittiCalib(const KittiCalib& calib) {
  return FormatRow("P0", calib.p2) + FormatRow("P1", calib.p2) + FormatRow("P2", calib.p2) + FormatRow("P3", calib.p2) +
         FormatRow("R0_rect", calib.r0_rect) + FormatRow("Tr_velo_to_cam", calib.tr_velo_to_cam) + "\n";
}

Box3d KittiToLidar(const KittiObject& object, const KittiCalib& calib) {
  const Vec3 centre = calib.CameraToLidar({object.x, object.y - object.height / 2, object.z});
  return {.x = static_cast<float>(centre[0]),
          .y = static_cast<float>(centre[1]),
          .z = static_cast<float>(centre[2]),
          .dx = static_cast<float>(object.length),
          .dy = static_cast<float>(object.width),
          .dz = static_cast<float>(object.height),
          .yaw = static_cast<float>(WrapAngle(-object.rotation_y - M_PI / 2))};
}

KittiObject LidarToKitti(const Box3d& box, const std::string& type, double score, const KittiCalib& calib,
                         const ImageSize& image) {
  KittiObject object;
  object.type = type;
  object.truncated = -1;
  object.occluded = -1;
  object.score = score;
  object.length = box.dx;
  object.width = box.dy;
  object.height = box.dz;
  const Vec3 centre = calib.LidarToCamera({box.x, box.y, box.z});
  object.x = centre[0];
  object.y = centre[1] + object.height / 2;
  object.z = centre[2];
  object.rotation_y = WrapAngle(-box.yaw - M_PI / 2);
  object.alpha = WrapAngle(object.rotation_y - std::atan2(object.x, object.z));

  std::array<Vec3, 8> corners;
  const double c = std::cos(object.rotation_y), s = std::sin(object.rotation_y);
  for (int corner = 0; corner < 8; ++corner) {
    const double lx = (corner & 1 ? 0.5 : -0.5) * object.length;
    const double lz = (corner & 2 ? 0.5 : -0.5) * object.width;
    const double ly = corner & 4 ? -object.height : 0;
    corners[corner] = {object.x + c * lx + s * lz, object.y + ly, object.z - s * lx + c * lz};
  }
  double left = 1e9, top = 1e9, right = -1e9, bottom = -1e9;
  const auto include = [&](const Vec3& point) {
    const Vec3 pixel = calib.CameraToImage(point);
    left = std::min(left, pixel[0]);
    right = std::max(right, pixel[0]);
    top = std::min(top, pixel[1]);
    bottom = std::max(bottom, pixel[1]);
  };
  for (int corner = 0; corner < 8; ++corner) {
    const Vec3& from = corners[corner];
    if (from[2] < kNear) continue;
    include(from);
    // Edges join corners that differ in one bit; one that goes behind the camera is cut where it comes too near.
    for (const int bit : {1, 2, 4}) {
      const Vec3& to = corners[corner ^ bit];
      if (to[2] >= kNear) continue;
      const double t = (from[2] - kNear) / (from[2] - to[2]);
      include({from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1]), kNear});
    }
  }
  left = std::clamp(left, 0.0, image.width - 1.0);
  right = std::clamp(right, 0.0, image.width - 1.0);
  top = std::clamp(top, 0.0, image.height - 1.0);
  bottom = std::clamp(bottom, 0.0, image.height - 1.0);
  if (left < right && top < bottom) object.box2d = {left, top, right, bottom};
  return object;
}

}  // namespace kd
