// Pictures of frames that need no viewer: bird's-eye view, and boxes in the camera image.
#ifndef KD_EVAL_PICTURE_H_
#define KD_EVAL_PICTURE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/frame.h"
#include "data/kitti_calib.h"

namespace kd {

struct Color {
  uint8_t r = 0, g = 0, b = 0;
};

// RGB, row-major, the first row on top.
class Image {
 public:
  Image(int width, int height, Color fill = {});
  // INVALID_ARGUMENT: not a PNG that can be read. NOT_FOUND: no such file.
  static absl::StatusOr<Image> ReadPng(const std::string& path);
  absl::Status WritePng(const std::string& path) const;

  int width() const { return width_; }
  int height() const { return height_; }
  // Places outside the image are left out.
  void Set(int x, int y, Color color);
  void Line(double x0, double y0, double x1, double y1, Color color);
  // Copies `other` with its upper left corner at (x, y).
  void Paste(const Image& other, int x, int y);

 private:
  int width_, height_;
  std::vector<uint8_t> pixels_;
};

// Boxes drawn in one colour.
struct BoxLayer {
  std::vector<Box3d> boxes;
  Color color;
};

// x up, y to the left, `pixels_per_metre` over x_min..x_max and y_min..y_max. Points are coloured by height; a box has a
// tick at its front.
struct BevOptions {
  double x_min = 0, x_max = 70, y_min = -35, y_max = 35;
  double pixels_per_metre = 10;
};
Image DrawBev(const Frame& frame, const std::vector<BoxLayer>& layers, const BevOptions& options);

// Draws the edges of the boxes that are in front of the camera.
void DrawBoxesInImage(const std::vector<BoxLayer>& layers, const KittiCalib& calib, Image& image);

}  // namespace kd

#endif  // KD_EVAL_PICTURE_H_
