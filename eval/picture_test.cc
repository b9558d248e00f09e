#include "eval/picture.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <string>

#include "base/status_matchers.h"
#include "base/testing.h"
#include "eval/picture_font.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

constexpr Color kInk{255, 255, 0};

void ExpectSegment(const std::optional<Segment>& actual, const Segment& expected) {
  ASSERT_TRUE(actual.has_value());
  EXPECT_NEAR(actual->x0, expected.x0, 1e-9);
  EXPECT_NEAR(actual->y0, expected.y0, 1e-9);
  EXPECT_NEAR(actual->x1, expected.x1, 1e-9);
  EXPECT_NEAR(actual->y1, expected.y1, 1e-9);
}

int CountInk(const Image& image) {
  int count = 0;
  for (int y = 0; y < image.height(); ++y) {
    for (int x = 0; x < image.width(); ++x) count += image.At(x, y) == kInk;
  }
  return count;
}

TEST(ClipSegmentTest, CutsAtTheBordersItCrossesAndKeepsTheDirection) {
  ExpectSegment(ClipSegment({2, 3, 7, 4}, 0, 0, 10, 5), {2, 3, 7, 4});
  ExpectSegment(ClipSegment({-10, 2, 30, 2}, 0, 0, 10, 5), {0, 2, 10, 2});
  ExpectSegment(ClipSegment({30, 2, -10, 2}, 0, 0, 10, 5), {10, 2, 0, 2});
  ExpectSegment(ClipSegment({4, 20, 4, -20}, 0, 0, 10, 5), {4, 5, 4, 0});
  // On y = x - 3 the box is entered at (3, 0) and left at (8, 5).
  ExpectSegment(ClipSegment({0, -3, 20, 17}, 0, 0, 10, 5), {3, 0, 8, 5});
  ExpectSegment(ClipSegment({6, 1, 6, 1}, 0, 0, 10, 5), {6, 1, 6, 1});
}

TEST(ClipSegmentTest, WhatMissesTheRectangleIsGone) {
  EXPECT_FALSE(ClipSegment({-5, 1, -1, 4}, 0, 0, 10, 5));
  EXPECT_FALSE(ClipSegment({2, 6, 9, 6}, 0, 0, 10, 5));
  // Its bounding box overlaps the rectangle, the segment passes the corner (0, 0).
  EXPECT_FALSE(ClipSegment({-4, 2, 2, -4}, 0, 0, 10, 5));
  EXPECT_FALSE(ClipSegment({11, 11, 11, 11}, 0, 0, 10, 5));
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(ClipSegment({nan, 1, 5, 1}, 0, 0, 10, 5));
  EXPECT_FALSE(ClipSegment({-infinity, 1, infinity, 1}, 0, 0, 10, 5));
}

TEST(ImageTest, APngThatWasWrittenIsRead) {
  TemporaryFolder folder;
  Image image(3, 2, {1, 2, 3});
  image.Set(2, 1, {200, 100, 50});
  ASSERT_THAT(image.WritePng(folder / "a.png"), IsOk());
  auto read = Image::ReadPng(folder / "a.png");
  ASSERT_THAT(read, IsOk());
  ASSERT_EQ(read->width(), 3);
  ASSERT_EQ(read->height(), 2);
  EXPECT_EQ(read->At(0, 0), (Color{1, 2, 3}));
  EXPECT_EQ(read->At(2, 1), (Color{200, 100, 50}));
}

TEST(ImageTest, BytesThatAreNoPngAreRefused) {
  TemporaryFolder folder;
  std::ofstream(folder / "a.png") << "not a picture";
  EXPECT_THAT(Image::ReadPng(folder / "a.png"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Image::ReadPng(folder / "none.png"), StatusIs(absl::StatusCode::kNotFound));
}

TEST(ImageTest, ALineCoversItsPixelsAndNoOthers) {
  Image image(8, 5);
  image.Line({1, 2, 5, 2}, kInk);
  for (int x = 1; x <= 5; ++x) EXPECT_EQ(image.At(x, 2), kInk) << x;
  EXPECT_EQ(CountInk(image), 5);
  image.Line({7, 0, 7, 4}, kInk, 3);
  // Three pixels wide about x = 7, of which the last column is outside.
  EXPECT_EQ(CountInk(image), 5 + 2 * 5);
}

TEST(ImageTest, ALineBetweenPixelRowsIsSharedByBoth) {
  Image image(3, 4);
  image.Line({0, 1.5, 2, 1.5}, kInk);
  EXPECT_EQ(image.At(1, 1), (Color{128, 128, 0}));
  EXPECT_EQ(image.At(1, 2), (Color{128, 128, 0}));
  EXPECT_EQ(image.At(1, 0), Color{});
}

TEST(ImageTest, EndsFarOutsideOnlyDrawThePartInside) {
  Image image(6, 6);
  image.Line({-1e12, 3, 1e12, 3}, kInk);
  EXPECT_EQ(CountInk(image), 6);
  image.Line({-1e300, -1e300, -1e299, 4}, kInk);
  image.Line({std::nan(""), 0, 3, 3}, kInk);
  image.Text(-3, 4, "AB", kInk);
  image.Shade(-10, -10, 4, 4);
  EXPECT_EQ(image.At(5, 3), kInk);
}

TEST(ImageTest, ACropIsEnlarged) {
  Image image(4, 4);
  image.Set(2, 1, kInk);
  const Image crop = image.Crop(1.5, 0.5, 3, 6, 3);
  // Pixel (2, 1) reaches from 1.5 to 2.5 and from 0.5 to 1.5.
  EXPECT_EQ(CountInk(crop), 9);
  EXPECT_EQ(crop.At(0, 0), kInk);
  EXPECT_EQ(crop.At(2, 2), kInk);
  EXPECT_EQ(CountInk(image.Crop(-10, -10, 1, 5, 5)), 0);
}

TEST(ImageTest, LettersHaveTheirDots) {
  Image image(20, 16);
  image.Text(1, 1, "I", kInk);
  // Two bars of three dots and a stem of five.
  EXPECT_EQ(CountInk(image), 11);
  EXPECT_EQ(image.At(3, 4), kInk);
  Image twice(20, 16);
  twice.Text(0, 0, "I", kInk, 2);
  EXPECT_EQ(CountInk(twice), 4 * 11);
  EXPECT_EQ(TextWidth("I"), 5);
  EXPECT_EQ(TextWidth("IIII", 2), 46);
  EXPECT_EQ(TextWidth(""), 0);
}

TEST(ImageTest, ALetterThatTheFontLacksIsABlock) {
  Image image(5, 7);
  image.Text(0, 0, "\x80", kInk);
  EXPECT_EQ(CountInk(image), 35);
  EXPECT_EQ(LetterCovers('q', 1, 6), LetterCovers('Q', 1, 6));
}

}  // namespace
}  // namespace kd
