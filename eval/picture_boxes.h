// Pictures of frames that need no viewer: bird's-eye view, and boxes in the camera image.
#ifndef KD_EVAL_PICTURE_BOXES_H_
#define KD_EVAL_PICTURE_BOXES_H_

#include <string>
#include <vector>

#include "data/frame.h"
#include "data/kitti_calib.h"
#include "eval/picture.h"

namespace kd {

struct PictureBox {
  Box3d box;
  // Beside the box in the bird's-eye view, such as "Car 0.83".
  std::string text;
};

// Boxes of one origin. Layers are drawn in order: give the later ones thinner lines, so that equal boxes show all
// colours.
struct BoxLayer {
  std::string name;
  Color color;
  double line_width = 1;
  std::vector<PictureBox> boxes;
};

// x up, y to the left. Pixels per metre over x_min..x_max and y_min..y_max.
struct BevOptions {
  double x_min = 0, x_max = 70, y_min = -40, y_max = 40;
  double pixels_per_metre = 15;
};

// Points coloured by height, boxes with a line from the centre to before the front, rings around the sensor with their
// radius in metres.
Image DrawBev(const Frame& frame, const std::vector<BoxLayer>& layers, const BevOptions& options);

// Colour, name and number of boxes of each layer, in the upper left corner.
void DrawLegend(const std::vector<BoxLayer>& layers, Image& image);

// The edges of a box as they appear in an image of `size`: cut where they come nearer to the camera than 0.1 m, then at
// the border. Empty when nothing of the box is seen.
std::vector<Segment> ProjectBox(const Box3d& box, const KittiCalib& calib, const ImageSize& size);

// Draws the projected boxes; the front face is crossed out.
void DrawBoxesInImage(const std::vector<BoxLayer>& layers, const KittiCalib& calib, Image& image);

// Two squares of `side` pixels around a box: from the camera (dark without an image) and, to its right, from above.
Image DrawCloseUp(const Box3d& box, const Frame& frame, const std::vector<BoxLayer>& layers, const KittiCalib& calib,
                  const Image* camera, int side);

}  // namespace kd

#endif  // KD_EVAL_PICTURE_BOXES_H_
