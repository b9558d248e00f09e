#include "eval/picture_boxes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/kitti_dataset.h"
#include "data/kitti_label.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

constexpr Color kInk{255, 255, 0};
constexpr ImageSize kImage{.width = 401, .height = 201};

// A camera at the sensor's origin that looks along x: u = 200 - 100 y / x, v = 100 - 100 z / x.
KittiCalib PlainCamera() {
  return {.p2 = {100, 0, 200, 0, 0, 100, 100, 0, 0, 0, 1, 0},
          .r0_rect = {1, 0, 0, 0, 1, 0, 0, 0, 1},
          .tr_velo_to_cam = {0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0}};
}

bool SameEnds(const Segment& s, double ax, double ay, double bx, double by) {
  const auto near = [](double x, double y, double u, double v) { return std::hypot(x - u, y - v) < 1e-4; };
  return (near(s.x0, s.y0, ax, ay) && near(s.x1, s.y1, bx, by)) ||
         (near(s.x0, s.y0, bx, by) && near(s.x1, s.y1, ax, ay));
}

bool HasEdge(const std::vector<Segment>& edges, double ax, double ay, double bx, double by) {
  return std::any_of(edges.begin(), edges.end(), [&](const Segment& s) { return SameEnds(s, ax, ay, bx, by); });
}

TEST(ProjectBoxTest, HandComputedEdges) {
  // Faces at x = 8 and 16, sides at y = +-2, bottom and top at z = +-1: corners at 200 +- 25 or 12.5, 100 +- 12.5
  // or 6.25.
  const auto edges = ProjectBox({.x = 12, .y = 0, .z = 0, .dx = 8, .dy = 4, .dz = 2, .yaw = 0}, PlainCamera(), kImage);
  EXPECT_EQ(edges.size(), 12u);
  EXPECT_TRUE(HasEdge(edges, 175, 112.5, 225, 112.5));
  EXPECT_TRUE(HasEdge(edges, 175, 87.5, 175, 112.5));
  EXPECT_TRUE(HasEdge(edges, 187.5, 93.75, 212.5, 93.75));
  EXPECT_TRUE(HasEdge(edges, 175, 112.5, 187.5, 106.25));
  // A quarter turn swaps the sides: faces at x = 10 and 14, sides at y = +-4.
  const auto turned = ProjectBox(
      {.x = 12, .y = 0, .z = 0, .dx = 8, .dy = 4, .dz = 2, .yaw = static_cast<float>(M_PI / 2)}, PlainCamera(), kImage);
  EXPECT_TRUE(HasEdge(turned, 160, 110, 240, 110));
}

TEST(ProjectBoxTest, EdgesThatPassTheCameraAreCutAtTheNearPlaneAndTheBorder) {
  // From x = -1 to 5, y = 1..3, z = -1.75..-0.25: the lower inner edge starts at (180, 135) and heads away from (200,
  // 100). At 0.1 m it would be at v = 1850; the border v = 200 is met at u = 200 - 20 * 100 / 35.
  const auto edges =
      ProjectBox({.x = 2, .y = 2, .z = -1, .dx = 6, .dy = 2, .dz = 1.5, .yaw = 0}, PlainCamera(), kImage);
  EXPECT_TRUE(HasEdge(edges, 180, 135, 200 - 2000.0 / 35, 200));
  // The upper outer edge, at (140, 105) for x = 5, leaves on the left: at u = 0 v is 100 + 5 * 200 / 60.
  EXPECT_TRUE(HasEdge(edges, 140, 105, 0, 100 + 1000.0 / 60));
  // The rear face is behind the camera: only the four edges of the face before it and four cut ones are left.
  EXPECT_EQ(edges.size(), 8u);
}

TEST(ProjectBoxTest, WhatTheCameraCannotSeeHasNoEdges) {
  const KittiCalib camera = PlainCamera();
  EXPECT_TRUE(ProjectBox({.x = -10, .dx = 4, .dy = 2, .dz = 1.5}, camera, kImage).empty());
  EXPECT_TRUE(ProjectBox({.x = 10, .y = 60, .dx = 4, .dy = 2, .dz = 1.5}, camera, kImage).empty());
  EXPECT_TRUE(ProjectBox({.x = std::nanf(""), .dx = 4, .dy = 2, .dz = 1.5}, camera, kImage).empty());
}

// The projection of KITTI's development kit, from the label's own fields and P2 alone: corners +-l/2, 0 or -h, +-w/2 in
// the camera's frame, turned by rotation_y about the y axis.
std::array<double, 4> HullOfLabel(const KittiObject& label, const std::array<double, 12>& p2) {
  std::array<double, 4> hull = {1e9, 1e9, -1e9, -1e9};
  for (int corner = 0; corner < 8; ++corner) {
    const double l = (corner & 1 ? 0.5 : -0.5) * label.length, w = (corner & 2 ? 0.5 : -0.5) * label.width;
    const double h = corner & 4 ? -label.height : 0;
    const double x = std::cos(label.rotation_y) * l + std::sin(label.rotation_y) * w + label.x;
    const double y = h + label.y;
    const double z = -std::sin(label.rotation_y) * l + std::cos(label.rotation_y) * w + label.z;
    const double depth = p2[8] * x + p2[9] * y + p2[10] * z + p2[11];
    const double u = (p2[0] * x + p2[1] * y + p2[2] * z + p2[3]) / depth,
                 v = (p2[4] * x + p2[5] * y + p2[6] * z + p2[7]) / depth;
    hull = {std::min(hull[0], u), std::min(hull[1], v), std::max(hull[2], u), std::max(hull[3], v)};
  }
  return hull;
}

TEST(ProjectBoxTest, BoxesOfRealLabelsLieOnTheirObjects) {
  const std::string root = SharedPath("data/kitti");
  KD_REQUIRE_FILE(root + "/training/label_2/000000.txt");
  int cars = 0;
  for (const std::string sample : {"000000", "000001", "000002", "000003"}) {
    const auto calib = ReadKittiCalib(root, sample);
    const auto size = ReadKittiImageSize(root, sample);
    const auto text = ReadFile(root + "/training/label_2/" + sample + ".txt");
    ASSERT_THAT(calib, IsOk());
    ASSERT_THAT(size, IsOk());
    ASSERT_THAT(text, IsOk());
    const auto labels = ParseKittiObjects(*text, KittiText::kLabels, sample);
    ASSERT_THAT(labels, IsOk());
    for (const KittiObject& label : *labels) {
      if (label.type == "DontCare") continue;
      const auto edges = ProjectBox(KittiToLidar(label, *calib), *calib, *size);
      ASSERT_EQ(edges.size(), 12u) << sample << " " << label.type;
      std::array<double, 4> hull = {1e9, 1e9, -1e9, -1e9};
      for (const Segment& e : edges) {
        hull = {std::min({hull[0], e.x0, e.x1}), std::min({hull[1], e.y0, e.y1}), std::max({hull[2], e.x0, e.x1}),
                std::max({hull[3], e.y0, e.y1})};
      }
      const auto expected = HullOfLabel(label, calib->p2);
      // Ours stand upright in the LiDAR's frame, which is tilted by a degree against the camera's: up to 2 pixels on
      // the objects at 8 m. Annotators drew the 2D boxes by hand, and the walking pedestrian's is 10 pixels slimmer.
      for (int i = 0; i < 4; ++i) {
        EXPECT_NEAR(hull[i], expected[i], 2.0) << sample << " " << label.type << " side " << i;
        EXPECT_NEAR(hull[i], label.box2d[i], 12) << sample << " " << label.type << " side " << i;
      }
      cars += label.type == "Car";
    }
  }
  EXPECT_EQ(cars, 3);
}

TEST(DrawBoxesInImageTest, DrawsEdgesAndCrossesOutTheFront) {
  Image image(401, 201);
  // The front (yaw pi looks at the camera) is the near face; its diagonals meet at (200, 100).
  const PictureBox box{.box = {.x = 12, .y = 0, .z = 0, .dx = 8, .dy = 4, .dz = 2, .yaw = static_cast<float>(M_PI)},
                       .text = ""};
  DrawBoxesInImage({{.name = "a", .color = kInk, .boxes = {box}}}, PlainCamera(), image);
  EXPECT_GT(image.At(200, 112).r, 0);
  EXPECT_GT(image.At(200, 100).r, 100);
  EXPECT_EQ(image.At(200, 90), Color{});
  EXPECT_EQ(image.At(300, 100), Color{});
}

// x 0..20 and y -10..10 at 10 pixels a metre: (x, y) is at column 100 - 10 y, row 200 - 10 x.
constexpr BevOptions kBev{.x_min = 0, .x_max = 20, .y_min = -10, .y_max = 10, .pixels_per_metre = 10};

TEST(DrawBevTest, ABoxIsAtItsPlaceAndItsTickPointsAhead) {
  const PictureBox box{.box = {.x = 10, .y = 5, .z = 0, .dx = 4, .dy = 2, .dz = 1, .yaw = 0}, .text = ""};
  const Image image = DrawBev({}, {{.name = "a", .color = kInk, .line_width = 2, .boxes = {box}}}, kBev);
  ASSERT_EQ(image.width(), 200);
  ASSERT_EQ(image.height(), 200);
  // Sides at columns 40 and 60, ends at rows 80 and 120.
  EXPECT_EQ(image.At(40, 110), kInk);
  EXPECT_EQ(image.At(60, 110), kInk);
  EXPECT_EQ(image.At(45, 80), kInk);
  EXPECT_EQ(image.At(45, 120), kInk);
  // The tick runs from row 100 up to 0.8 * 4 m ahead, row 68, and not behind.
  EXPECT_EQ(image.At(50, 90), kInk);
  EXPECT_EQ(image.At(50, 70), kInk);
  EXPECT_NE(image.At(50, 64), kInk);
  EXPECT_NE(image.At(50, 110), kInk);
  // Turned to the left by a quarter, it points to smaller columns.
  PictureBox left = box;
  left.box.yaw = static_cast<float>(M_PI / 2);
  const Image turned = DrawBev({}, {{.name = "a", .color = kInk, .line_width = 2, .boxes = {left}}}, kBev);
  EXPECT_EQ(turned.At(30, 105), kInk);
  EXPECT_EQ(turned.At(22, 100), kInk);
  EXPECT_NE(turned.At(78, 100), kInk);
}

TEST(DrawBevTest, TextsOfOnePlaceStandBelowEachOther) {
  const auto boxes = [](float x, const std::string& text) {
    return std::vector<PictureBox>{
        {.box = {.x = x, .y = 5, .z = 0, .dx = 4, .dy = 2, .dz = 1, .yaw = 0}, .text = text}};
  };
  constexpr Color kTeacher{0, 0, 255};
  // The teacher's box reaches 0.7 m further ahead; alone its text would begin 7 pixels higher and be covered.
  const Image image = DrawBev({},
                              {{.name = "a", .color = kInk, .boxes = boxes(10, "I")},
                               {.name = "b", .color = kTeacher, .boxes = boxes(10.7f, "I")}},
                              kBev);
  int ink = 0, teacher = 0, lowest_ink = 0, highest_teacher = 200;
  for (int y = 0; y < 200; ++y) {
    for (int x = 64; x < 80; ++x) {
      ink += image.At(x, y) == kInk;
      teacher += image.At(x, y) == kTeacher;
      if (image.At(x, y) == kInk) lowest_ink = y;
      if (image.At(x, y) == kTeacher) highest_teacher = std::min(highest_teacher, y);
    }
  }
  EXPECT_EQ(ink, 11);
  EXPECT_EQ(teacher, 11);
  EXPECT_LT(lowest_ink, highest_teacher);
}

TEST(DrawBevTest, RingsAndPointsAreThere) {
  Frame frame;
  // The second point is out of the picture, the third far beyond any integer.
  frame.points = {2.55f, -3.05f, 0, 0.5f, 40, 0, 0, 0.5f, 1e30f, -1e30f, 0, 0.5f};
  const Image bare = DrawBev({}, {}, kBev), image = DrawBev(frame, {}, kBev);
  // 10 m ahead is between rows 99 and 100.
  const Color background = bare.At(100, 150);
  EXPECT_NE(bare.At(100, 100), background);
  EXPECT_NE(bare.At(100, 99), background);
  EXPECT_EQ(bare.At(100, 97), background);
  EXPECT_NE(image.At(130, 174), bare.At(130, 174));
}

TEST(DrawLegendTest, NamesEachLayerInItsColour) {
  Image image(200, 60);
  DrawLegend({{.name = "teacher", .color = kInk}, {.name = "student", .color = {255, 0, 255}}}, image);
  // The swatches are level with the letters of each row, 20 pixels apart.
  EXPECT_EQ(image.At(20, 17), kInk);
  EXPECT_EQ(image.At(20, 37), (Color{255, 0, 255}));
  EXPECT_EQ(image.At(20, 57), Color{});
}

TEST(DrawCloseUpTest, ShowsTheBoxInTheMiddleOfBothSquares) {
  const PictureBox box{
      .box = {.x = 2.2f, .y = 0.5f, .z = 0, .dx = 0.4f, .dy = 0.4f, .dz = 0.4f, .yaw = static_cast<float>(M_PI)}};
  const std::vector<BoxLayer> layers = {{.name = "a", .color = kInk, .line_width = 3, .boxes = {box}}};
  const Image camera(401, 201, {0, 0, 200});
  const Image page = DrawCloseUp(box.box, {}, layers, PlainCamera(), &camera, 160);
  ASSERT_EQ(page.width(), 320);
  ASSERT_EQ(page.height(), 160);
  // In the image the near face spans u = 165..185, v = 90..110, the far one lies further to the right: the hull is
  // 165..187.5 x 90..110 and 36 pixels are shown, u from 158.25 and v from 82 on, 40 / 9 times as large.
  EXPECT_EQ(page.At(30, 80), kInk);   // u = 165
  EXPECT_EQ(page.At(60, 36), kInk);   // v = 90
  EXPECT_EQ(page.At(60, 124), kInk);  // v = 110
  EXPECT_EQ(page.At(5, 5), (Color{0, 0, 200}));
  // From above 4 m are shown, 40 pixels each: the box is 16 pixels wide.
  EXPECT_EQ(page.At(160 + 72, 80), kInk);
  EXPECT_EQ(page.At(160 + 88, 80), kInk);
  EXPECT_NE(page.At(160 + 94, 80), kInk);
  // Without an image the left square stays dark.
  EXPECT_NE(DrawCloseUp(box.box, {}, layers, PlainCamera(), nullptr, 160).At(5, 5), (Color{0, 0, 200}));
}

}  // namespace
}  // namespace kd
