#include "eval/picture.h"

#include <fstream>
#include <string>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(PictureTest, APngThatWasWrittenIsRead) {
  TemporaryFolder folder;
  Image image(3, 2, {1, 2, 3});
  image.Set(2, 1, {200, 100, 50});
  ASSERT_THAT(image.WritePng(folder / "a.png"), IsOk());
  auto read = Image::ReadPng(folder / "a.png");
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->width(), 3);
  EXPECT_EQ(read->height(), 2);
  ASSERT_THAT(read->WritePng(folder / "b.png"), IsOk());
  EXPECT_EQ(*ReadFile(folder / "a.png"), *ReadFile(folder / "b.png"));
}

TEST(PictureTest, BytesThatAreNoPngAreRefused) {
  TemporaryFolder folder;
  std::ofstream(folder / "a.png") << "not a picture";
  EXPECT_THAT(Image::ReadPng(folder / "a.png"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Image::ReadPng(folder / "none.png"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(PictureTest, ABoxAndAPointChangeTheirPixels) {
  TemporaryFolder folder;
  Frame frame;
  const BevOptions options{.x_min = 0, .x_max = 10, .y_min = -5, .y_max = 5, .pixels_per_metre = 4};
  const auto bytes = [&](const Image& image) {
    EXPECT_THAT(image.WritePng(folder / "x.png"), IsOk());
    return *ReadFile(folder / "x.png");
  };
  const std::string empty = bytes(DrawBev(frame, {}, options));
  const BoxLayer layer{.boxes = {{.x = 5, .y = 0, .z = 0, .dx = 4, .dy = 2, .dz = 1, .yaw = 0.5f}}, .color = {255, 255, 0}};
  EXPECT_NE(bytes(DrawBev(frame, {layer}, options)), empty);
  frame.points = {1, 1, 0, 0.5f};
  EXPECT_NE(bytes(DrawBev(frame, {}, options)), empty);
}

}  // namespace
}  // namespace kd
