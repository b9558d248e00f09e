#include "eval/picture_boxes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <optional>

#include "absl/strings/str_cat.h"
#include "ops/box_geometry.h"

namespace kd {
namespace {

constexpr Color kBackground{12, 12, 16}, kGuide{60, 60, 72}, kGuideText{150, 150, 165};
constexpr double kRingStep = 10;  // metres
constexpr double kNearest = 0.1;  // metres before the camera
constexpr int kLegendScale = 2, kLegendRow = 20, kLegendMargin = 10, kSwatch = 28;
constexpr int kBoxTextRow = kTextHeight + 3, kTextGap = 6;
constexpr double kSamePlace = 2;  // metres
// Above this many pixels per metre a point is drawn as a square of 2 x 2.
constexpr double kFinePixels = 20;
// A close-up shows this many times the box's length, and of the image this many times its larger side.
constexpr double kCloseUpLengths = 2.5, kCloseUpLeast = 4, kCloseUpSides = 1.6;

// Corners of ops/box_geometry.h: 0, 1 and their upper twins 4, 5 are in front.
constexpr int kEdges[12][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 0}, {4, 5}, {5, 6},
                               {6, 7}, {7, 4}, {0, 4}, {1, 5}, {2, 6}, {3, 7}};
constexpr int kFrontDiagonals[2][2] = {{0, 5}, {1, 4}};

// Blue below, over green, to red above: -2.5 m .. 1.5 m.
Color HeightColor(float z) {
  const double t = std::clamp((z + 2.5) / 4.0, 0.0, 1.0);
  const auto channel = [](double value) {
    return static_cast<uint8_t>(std::lround(40 + 200 * std::clamp(value, 0.0, 1.0)));
  };
  return {channel(2 * t - 1), channel(1 - std::abs(2 * t - 1)), channel(1 - 2 * t)};
}

std::array<std::array<float, 3>, 8> CornersOf(const Box3d& b) {
  const float row[7] = {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw};
  return BoxCorners(row);
}

// Where a point of the sensor's plane lies in the bird's-eye view.
class BevMap {
 public:
  explicit BevMap(const BevOptions& options) : o_(options) {}
  int width() const { return static_cast<int>(std::lround((o_.y_max - o_.y_min) * o_.pixels_per_metre)); }
  int height() const { return static_cast<int>(std::lround((o_.x_max - o_.x_min) * o_.pixels_per_metre)); }
  double column(double y) const { return (o_.y_max - y) * o_.pixels_per_metre - 0.5; }
  double row(double x) const { return (o_.x_max - x) * o_.pixels_per_metre - 0.5; }
  Segment segment(double ax, double ay, double bx, double by) const {
    return {column(ay), row(ax), column(by), row(bx)};
  }

 private:
  const BevOptions& o_;
};

void DrawRings(const BevMap& map, const BevOptions& o, Image& image) {
  const double farthest =
      std::hypot(std::max(std::abs(o.x_min), std::abs(o.x_max)), std::max(std::abs(o.y_min), std::abs(o.y_max)));
  for (double radius = kRingStep; radius <= farthest; radius += kRingStep) {
    image.Circle(map.column(0), map.row(0), radius * o.pixels_per_metre, kGuide);
    image.Text(static_cast<int>(map.column(0)) + 3, static_cast<int>(map.row(radius)) + 3, absl::StrCat(radius, " m"),
               kGuideText);
  }
}

void DrawPoints(const Frame& frame, const BevMap& map, double pixels_per_metre, Image& image) {
  const int dots = pixels_per_metre > kFinePixels ? 2 : 1;
  for (size_t i = 0; i < frame.num_points(); ++i) {
    const float* p = &frame.points[i * frame.num_features];
    const double column = map.column(p[1]), row = map.row(p[0]);
    if (!(column > -1 && column < image.width() && row > -1 && row < image.height())) continue;
    const int x = static_cast<int>(std::lround(column)), y = static_cast<int>(std::lround(row));
    for (int dot = 0; dot < dots * dots; ++dot) image.Set(x + dot % dots, y + dot / dots, HeightColor(p[2]));
  }
}

// Texts stand to the right of their boxes; boxes at one place share a list, so that no text covers another.
void DrawTexts(const std::vector<BoxLayer>& layers, const BevMap& map, Image& image) {
  struct Place {
    float x, y;
    int left, next_row;
  };
  std::vector<Place> places;
  for (const BoxLayer& layer : layers) {
    for (const auto& [box, text] : layer.boxes) {
      double right = map.column(box.y), top = map.row(box.x);
      for (const auto& corner : CornersOf(box)) {
        right = std::max(right, map.column(corner[1]));
        top = std::min(top, map.row(corner[0]));
      }
      if (!(right > -1 && right < image.width() && top > -kTextHeight && top < image.height())) continue;
      auto place = std::find_if(places.begin(), places.end(),
                                [&](const Place& p) { return std::hypot(p.x - box.x, p.y - box.y) < kSamePlace; });
      if (place == places.end()) {
        places.push_back({box.x, box.y, static_cast<int>(right) + kTextGap, static_cast<int>(top)});
        place = std::prev(places.end());
      }
      image.Text(place->left, place->next_row, text, layer.color);
      place->next_row += kBoxTextRow;
    }
  }
}

// A line between two points of the LiDAR frame in an image of `size`.
std::optional<Segment> ProjectLine(const std::array<float, 3>& from, const std::array<float, 3>& to,
                                   const KittiCalib& calib, const ImageSize& size) {
  Vec3 a = calib.LidarToCamera({from[0], from[1], from[2]}), b = calib.LidarToCamera({to[0], to[1], to[2]});
  // The depth behind the projection, which P2 may shift against the camera's z.
  const double a_depth = calib.CameraToImage(a)[2], b_depth = calib.CameraToImage(b)[2];
  if (!(a_depth >= kNearest || b_depth >= kNearest)) return std::nullopt;
  const auto cut = [&](Vec3& behind, double depth, const Vec3& before, double before_depth) {
    const double share = (kNearest - depth) / (before_depth - depth);
    for (int i = 0; i < 3; ++i) behind[i] += share * (before[i] - behind[i]);
  };
  if (a_depth < kNearest) cut(a, a_depth, b, b_depth);
  if (b_depth < kNearest) cut(b, b_depth, a, a_depth);
  const Vec3 p = calib.CameraToImage(a), q = calib.CameraToImage(b);
  return ClipSegment({p[0], p[1], q[0], q[1]}, 0, 0, size.width - 1, size.height - 1);
}

}  // namespace

Image DrawBev(const Frame& frame, const std::vector<BoxLayer>& layers, const BevOptions& options) {
  const BevMap map(options);
  Image image(map.width(), map.height(), kBackground);
  DrawRings(map, options, image);
  DrawPoints(frame, map, options.pixels_per_metre, image);
  for (const BoxLayer& layer : layers) {
    for (const auto& [box, text] : layer.boxes) {
      const auto corners = CornersOf(box);
      for (int i = 0; i < 4; ++i) {
        const auto& a = corners[i];
        const auto& b = corners[(i + 1) % 4];
        image.Line(map.segment(a[0], a[1], b[0], b[1]), layer.color, layer.line_width);
      }
      const double front_x = box.x + std::cos(box.yaw) * box.dx * 0.8,
                   front_y = box.y + std::sin(box.yaw) * box.dx * 0.8;
      image.Line(map.segment(box.x, box.y, front_x, front_y), layer.color, layer.line_width);
    }
  }
  DrawTexts(layers, map, image);
  return image;
}

void DrawLegend(const std::vector<BoxLayer>& layers, Image& image) {
  if (layers.empty()) return;
  int widest = 0;
  std::vector<std::string> lines;
  for (const BoxLayer& layer : layers) {
    lines.push_back(absl::StrCat(layer.name, ": ", layer.boxes.size()));
    widest = std::max(widest, TextWidth(lines.back(), kLegendScale));
  }
  const int rows = static_cast<int>(layers.size());
  image.Shade(0, 0, kSwatch + widest + 3 * kLegendMargin, rows * kLegendRow + kLegendMargin);
  for (int i = 0; i < rows; ++i) {
    const int top = kLegendMargin + i * kLegendRow;
    const double middle = top + kTextHeight * kLegendScale / 2.0;
    image.Line({kLegendMargin, middle, kLegendMargin + kSwatch, middle}, layers[i].color, layers[i].line_width + 1);
    image.Text(2 * kLegendMargin + kSwatch, top, lines[i], layers[i].color, kLegendScale);
  }
}

std::vector<Segment> ProjectBox(const Box3d& box, const KittiCalib& calib, const ImageSize& size) {
  const auto corners = CornersOf(box);
  std::vector<Segment> edges;
  for (const auto& [a, b] : kEdges) {
    if (const auto edge = ProjectLine(corners[a], corners[b], calib, size)) edges.push_back(*edge);
  }
  return edges;
}

void DrawBoxesInImage(const std::vector<BoxLayer>& layers, const KittiCalib& calib, Image& image) {
  const ImageSize size{.width = image.width(), .height = image.height()};
  for (const BoxLayer& layer : layers) {
    for (const PictureBox& drawn : layer.boxes) {
      for (const Segment& edge : ProjectBox(drawn.box, calib, size)) image.Line(edge, layer.color, layer.line_width);
      const auto corners = CornersOf(drawn.box);
      for (const auto& [a, b] : kFrontDiagonals) {
        if (const auto diagonal = ProjectLine(corners[a], corners[b], calib, size)) image.Line(*diagonal, layer.color);
      }
    }
  }
}

Image DrawCloseUp(const Box3d& box, const Frame& frame, const std::vector<BoxLayer>& layers, const KittiCalib& calib,
                  const Image* camera, int side) {
  Image page(2 * side, side, kBackground);
  const double reach = std::max<double>(kCloseUpLeast, kCloseUpLengths * box.dx) / 2;
  page.Paste(DrawBev(frame, layers,
                     {.x_min = box.x - reach,
                      .x_max = box.x + reach,
                      .y_min = box.y - reach,
                      .y_max = box.y + reach,
                      .pixels_per_metre = side / (2 * reach)}),
             side, 0);
  if (camera == nullptr) return page;
  const std::vector<Segment> edges = ProjectBox(box, calib, {.width = camera->width(), .height = camera->height()});
  if (edges.empty()) return page;
  double left = edges[0].x0, right = left, top = edges[0].y0, bottom = top;
  for (const Segment& edge : edges) {
    left = std::min({left, edge.x0, edge.x1});
    right = std::max({right, edge.x0, edge.x1});
    top = std::min({top, edge.y0, edge.y1});
    bottom = std::max({bottom, edge.y0, edge.y1});
  }
  const double shown = kCloseUpSides * std::max({right - left, bottom - top, 1.0}), scale = side / shown;
  const double from_x = (left + right - shown) / 2, from_y = (top + bottom - shown) / 2;
  Image crop = camera->Crop(from_x, from_y, scale, side, side);
  // The same camera behind the crop: u becomes scale * (u - from_x), v likewise.
  KittiCalib zoomed = calib;
  for (int i = 0; i < 4; ++i) {
    zoomed.p2[i] = scale * (calib.p2[i] - from_x * calib.p2[8 + i]);
    zoomed.p2[4 + i] = scale * (calib.p2[4 + i] - from_y * calib.p2[8 + i]);
  }
  DrawBoxesInImage(layers, zoomed, crop);
  page.Paste(crop, 0, 0);
  return page;
}

}  // namespace kd
