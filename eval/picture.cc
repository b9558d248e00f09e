#include "eval/picture.h"

#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "ops/box_geometry.h"

namespace kd {
namespace {

constexpr int kMaxSide = 20000;

// Blue below, over green, to red above: -2.5 m .. 1.5 m.
Color HeightColor(float z) {
  const double t = std::clamp((z + 2.5) / 4.0, 0.0, 1.0);
  const auto channel = [](double value) { return static_cast<uint8_t>(std::lround(40 + 200 * std::clamp(value, 0.0, 1.0))); };
  return {channel(2 * t - 1), channel(1 - std::abs(2 * t - 1)), channel(1 - 2 * t)};
}

std::array<std::array<float, 3>, 8> CornersOf(const Box3d& b) {
  const float row[7] = {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw};
  return BoxCorners(row);
}

}  // namespace

Image::Image(int width, int height, Color fill) : width_(width), height_(height), pixels_(static_cast<size_t>(width) * height * 3) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) Set(x, y, fill);
  }
}

absl::StatusOr<Image> Image::ReadPng(const std::string& path) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size())) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" cannot be read as PNG: ", png.message));
  }
  if (png.width > kMaxSide || png.height > kMaxSide) {
    png_image_free(&png);
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" is larger than ", kMaxSide, " pixels"));
  }
  png.format = PNG_FORMAT_RGB;
  Image image(static_cast<int>(png.width), static_cast<int>(png.height));
  if (!png_image_finish_read(&png, nullptr, image.pixels_.data(), 0, nullptr)) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" cannot be read as PNG: ", png.message));
  }
  return image;
}

absl::Status Image::WritePng(const std::string& path) const {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(width_);
  png.height = static_cast<png_uint_32>(height_);
  png.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  if (!png_image_write_to_memory(&png, nullptr, &size, 0, pixels_.data(), 0, nullptr)) {
    return absl::InternalError(absl::StrCat("cannot encode a PNG: ", png.message));
  }
  std::string bytes(size, '\0');
  if (!png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels_.data(), 0, nullptr)) {
    return absl::InternalError(absl::StrCat("cannot encode a PNG: ", png.message));
  }
  bytes.resize(size);
  return WriteFileAtomically(path, bytes);
}

void Image::Set(int x, int y, Color color) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  uint8_t* pixel = &pixels_[(static_cast<size_t>(y) * width_ + x) * 3];
  pixel[0] = color.r;
  pixel[1] = color.g;
  pixel[2] = color.b;
}

void Image::Line(double x0, double y0, double x1, double y1, Color color) {
  // Far ends of boxes beside the camera project to anywhere: only what may touch the image is walked.
  const double limit = 4.0 * (width_ + height_);
  if (!(std::abs(x0) < limit && std::abs(y0) < limit && std::abs(x1) < limit && std::abs(y1) < limit)) return;
  const int steps = std::max(1, static_cast<int>(std::ceil(std::max(std::abs(x1 - x0), std::abs(y1 - y0)))));
  for (int i = 0; i <= steps; ++i) {
    const double t = static_cast<double>(i) / steps;
    Set(static_cast<int>(std::lround(x0 + t * (x1 - x0))), static_cast<int>(std::lround(y0 + t * (y1 - y0))), color);
  }
}

void Image::Paste(const Image& other, int x, int y) {
  for (int row = 0; row < other.height_; ++row) {
    for (int column = 0; column < other.width_; ++column) {
      const uint8_t* pixel = &other.pixels_[(static_cast<size_t>(row) * other.width_ + column) * 3];
      Set(x + column, y + row, {pixel[0], pixel[1], pixel[2]});
    }
  }
}

Image DrawBev(const Frame& frame, const std::vector<BoxLayer>& layers, const BevOptions& o) {
  Image image(static_cast<int>((o.y_max - o.y_min) * o.pixels_per_metre), static_cast<int>((o.x_max - o.x_min) * o.pixels_per_metre), {12, 12, 16});
  const auto column = [&](double y) { return (o.y_max - y) * o.pixels_per_metre; };
  const auto row = [&](double x) { return (o.x_max - x) * o.pixels_per_metre; };
  for (size_t i = 0; i < frame.num_points(); ++i) {
    const float* p = &frame.points[i * frame.num_features];
    image.Set(static_cast<int>(column(p[1])), static_cast<int>(row(p[0])), HeightColor(p[2]));
  }
  for (const BoxLayer& layer : layers) {
    for (const Box3d& box : layer.boxes) {
      const auto corners = CornersOf(box);
      for (int i = 0; i < 4; ++i) {
        const auto& a = corners[i];
        const auto& b = corners[(i + 1) % 4];
        image.Line(column(a[1]), row(a[0]), column(b[1]), row(b[0]), layer.color);
      }
      const double front_x = box.x + std::cos(box.yaw) * box.dx * 0.8, front_y = box.y + std::sin(box.yaw) * box.dx * 0.8;
      image.Line(column(box.y), row(box.x), column(front_y), row(front_x), layer.color);
    }
  }
  return image;
}

void DrawBoxesInImage(const std::vector<BoxLayer>& layers, const KittiCalib& calib, Image& image) {
  constexpr int kEdges[12][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 0}, {4, 5}, {5, 6}, {6, 7}, {7, 4}, {0, 4}, {1, 5}, {2, 6}, {3, 7}};
  constexpr double kNearest = 0.5;  // metres in front of the camera
  for (const BoxLayer& layer : layers) {
    for (const Box3d& box : layer.boxes) {
      std::array<Vec3, 8> pixels;
      const auto corners = CornersOf(box);
      for (int i = 0; i < 8; ++i) {
        const Vec3 camera = calib.LidarToCamera({corners[i][0], corners[i][1], corners[i][2]});
        pixels[i] = camera[2] < kNearest ? Vec3{0, 0, -1} : calib.CameraToImage(camera);
      }
      for (const auto& [a, b] : kEdges) {
        if (pixels[a][2] < 0 || pixels[b][2] < 0) continue;
        image.Line(pixels[a][0], pixels[a][1], pixels[b][0], pixels[b][1], layer.color);
      }
    }
  }
}

}  // namespace kd
