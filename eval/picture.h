// A raster image that is drawn on and kept as PNG. Pixel (x, y) is centred on (x, y), as in KITTI's calibrations.
#ifndef KD_EVAL_PICTURE_H_
#define KD_EVAL_PICTURE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct Color {
  uint8_t r = 0, g = 0, b = 0;

  friend bool operator==(const Color&, const Color&) = default;
};

struct Segment {
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
};

// The part of `segment` within x_min..x_max and y_min..y_max, borders included; nothing when it misses them or when a
// coordinate is not finite. The direction is kept.
std::optional<Segment> ClipSegment(const Segment& segment, double x_min, double y_min, double x_max, double y_max);

// RGB, row-major, the first row on top.
class Image {
 public:
  Image(int width, int height, Color fill = {});
  // INVALID_ARGUMENT: not a PNG that can be read. NOT_FOUND: no such file.
  static absl::StatusOr<Image> ReadPng(const std::string& path);
  // INVALID_ARGUMENT: `bytes`, called `name` in the message, are not a whole JPEG.
  static absl::StatusOr<Image> DecodeJpeg(absl::string_view bytes, absl::string_view name);
  absl::Status WritePng(const std::string& path) const;

  int width() const { return width_; }
  int height() const { return height_; }
  // (x, y) must be inside.
  Color At(int x, int y) const;

  // Drawing outside the image has no effect.
  void Set(int x, int y, Color color);
  // Mixes `share` (0..1) of the colour with what is there.
  void Blend(int x, int y, Color color, double share);
  // `width` in pixels; smooth edges.
  void Line(const Segment& segment, Color color, double width = 1);
  void Circle(double x, double y, double radius, Color color);
  // Left and top of the first letter; 7 pixels high times `scale`, see TextWidth.
  void Text(int x, int y, absl::string_view text, Color color, int scale = 1);
  // Darkens a rectangle so that text on it is legible.
  void Shade(int x, int y, int width, int height);
  // Copies `other` with its upper left corner at (x, y).
  void Paste(const Image& other, int x, int y);
  // A view of width x height pixels that starts at (left, top), `scale` times as large; black beyond the borders.
  Image Crop(double left, double top, double scale, int width, int height) const;

 private:
  int width_, height_;
  std::vector<uint8_t> pixels_;
};

// Pixels that Image::Text covers from left to right.
int TextWidth(absl::string_view text, int scale = 1);
constexpr int kTextHeight = 7;

}  // namespace kd

#endif  // KD_EVAL_PICTURE_H_
