#include "eval/picture.h"

#include <png.h>

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "eval/picture_font.h"

namespace kd {
namespace {

constexpr int kMaxSide = 20000;
// Of all sides together, as of JPEGs: a header of a few bytes must not take more memory than any camera's picture.
constexpr uint64_t kMaxPixels = uint64_t{1} << 27;
constexpr double kShade = 0.65;

}  // namespace

std::optional<Segment> ClipSegment(const Segment& segment, double x_min, double y_min, double x_max, double y_max) {
  const double dx = segment.x1 - segment.x0, dy = segment.y1 - segment.y0;
  if (!std::isfinite(dx) || !std::isfinite(dy)) return std::nullopt;
  // Liang and Barsky: each border narrows the share of the segment that is inside.
  double first = 0, last = 1;
  const auto narrow = [&](double speed, double distance) {
    if (speed == 0) return distance >= 0;
    const double at = distance / speed;
    if (speed < 0) first = std::max(first, at);
    if (speed > 0) last = std::min(last, at);
    return first <= last;
  };
  if (!narrow(-dx, segment.x0 - x_min) || !narrow(dx, x_max - segment.x0) || !narrow(-dy, segment.y0 - y_min) ||
      !narrow(dy, y_max - segment.y0)) {
    return std::nullopt;
  }
  // Rounding of far ends must not lead outside.
  const auto at = [&](double share) {
    return std::pair(std::clamp(segment.x0 + share * dx, x_min, x_max),
                     std::clamp(segment.y0 + share * dy, y_min, y_max));
  };
  const auto [x0, y0] = at(first);
  const auto [x1, y1] = at(last);
  return Segment{x0, y0, x1, y1};
}

Image::Image(int width, int height, Color fill)
    : width_(width), height_(height), pixels_(static_cast<size_t>(width) * height * 3) {
  if (fill == Color{}) return;
  for (size_t i = 0; i < pixels_.size(); i += 3) {
    pixels_[i] = fill.r;
    pixels_[i + 1] = fill.g;
    pixels_[i + 2] = fill.b;
  }
}

absl::StatusOr<Image> Image::ReadPng(const std::string& path) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size())) {
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" cannot be read as PNG: ", png.message));
  }
  if (png.width > kMaxSide || png.height > kMaxSide || uint64_t{png.width} * png.height > kMaxPixels) {
    png_image_free(&png);
    return absl::InvalidArgumentError(absl::StrCat("\"", path, "\" cannot be read as PNG: ", png.width, " x ",
                                                   png.height, " pixels are too many; copy it anew"));
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

Color Image::At(int x, int y) const {
  const uint8_t* pixel = &pixels_[(static_cast<size_t>(y) * width_ + x) * 3];
  return {pixel[0], pixel[1], pixel[2]};
}

void Image::Set(int x, int y, Color color) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  uint8_t* pixel = &pixels_[(static_cast<size_t>(y) * width_ + x) * 3];
  pixel[0] = color.r;
  pixel[1] = color.g;
  pixel[2] = color.b;
}

void Image::Blend(int x, int y, Color color, double share) {
  if (x < 0 || y < 0 || x >= width_ || y >= height_) return;
  const Color old = At(x, y);
  const auto mix = [share](uint8_t from, uint8_t to) {
    return static_cast<uint8_t>(std::lround(from + share * (to - from)));
  };
  Set(x, y, {mix(old.r, color.r), mix(old.g, color.g), mix(old.b, color.b)});
}

void Image::Line(const Segment& segment, Color color, double width) {
  const std::optional<Segment> clipped = ClipSegment(segment, -width, -width, width_ - 1 + width, height_ - 1 + width);
  if (!clipped) return;
  const double dx = clipped->x1 - clipped->x0, dy = clipped->y1 - clipped->y0;
  // Walks the longer axis pixel by pixel and covers a span across it.
  const bool steep = std::abs(dy) > std::abs(dx);
  const double along = steep ? dy : dx, across = steep ? dx : dy;
  const double slope = along == 0 ? 0 : across / along;
  const double half = 0.5 * width * std::hypot(1, slope);
  const double begin = steep ? clipped->y0 : clipped->x0, offset = steep ? clipped->x0 : clipped->y0;
  const int first = static_cast<int>(std::lround(std::min(begin, begin + along)));
  const int last = static_cast<int>(std::lround(std::max(begin, begin + along)));
  for (int a = first; a <= last; ++a) {
    const double middle = offset + slope * (a - begin);
    const double from = middle - half, to = middle + half;
    for (int c = static_cast<int>(std::floor(from + 0.5)); c <= static_cast<int>(std::ceil(to - 0.5)); ++c) {
      const double covered = std::min(to, c + 0.5) - std::max(from, c - 0.5);
      if (covered > 0) Blend(steep ? c : a, steep ? a : c, color, std::min(covered, 1.0));
    }
  }
}

void Image::Circle(double x, double y, double radius, Color color) {
  const int pieces = std::clamp(static_cast<int>(radius), 16, 720);
  for (int i = 0; i < pieces; ++i) {
    const double a = 2 * M_PI * i / pieces, b = 2 * M_PI * (i + 1) / pieces;
    Line({x + radius * std::cos(a), y + radius * std::sin(a), x + radius * std::cos(b), y + radius * std::sin(b)},
         color);
  }
}

void Image::Text(int x, int y, absl::string_view text, Color color, int scale) {
  for (const char letter : text) {
    for (int row = 0; row < kTextHeight * scale; ++row) {
      for (int column = 0; column < kLetterWidth * scale; ++column) {
        if (LetterCovers(letter, column / scale, row / scale)) Set(x + column, y + row, color);
      }
    }
    x += (kLetterWidth + 1) * scale;
  }
}

void Image::Shade(int x, int y, int width, int height) {
  for (int row = y; row < y + height; ++row) {
    for (int column = x; column < x + width; ++column) Blend(column, row, {}, kShade);
  }
}

void Image::Paste(const Image& other, int x, int y) {
  for (int row = 0; row < other.height_; ++row) {
    for (int column = 0; column < other.width_; ++column) Set(x + column, y + row, other.At(column, row));
  }
}

Image Image::Crop(double left, double top, double scale, int width, int height) const {
  Image crop(width, height);
  for (int row = 0; row < height; ++row) {
    for (int column = 0; column < width; ++column) {
      const double x = std::round(left + column / scale), y = std::round(top + row / scale);
      if (x >= 0 && y >= 0 && x < width_ && y < height_)
        crop.Set(column, row, At(static_cast<int>(x), static_cast<int>(y)));
    }
  }
  return crop;
}

int TextWidth(absl::string_view text, int scale) {
  return text.empty() ? 0 : (static_cast<int>(text.size()) * (kLetterWidth + 1) - 1) * scale;
}

}  // namespace kd
