// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <cstdlib>
#include <string>
#include <vector>

#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "data/tfrecord.h"
#include "data/waymo_frame.h"
#include "eval/picture.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

std::string OneColourJpeg(int width, int height, Color color) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;  // NOLINT: libjpeg's type
  jpeg_mem_dest(&jpeg, &bytes, &size);
  jpeg.image_width = width;
  jpeg.image_height = height;
  jpeg.input_components = 3;
  jpeg.in_color_space = JCS_RGB;
  jpeg_set_defaults(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  std::vector<unsigned char> row;
  for (int x = 0; x < width; ++x) row.insert(row.end(), {color.r, color.g, color.b});
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&jpeg, &pointer, 1);
  }
  jpeg_finish_compress(&jpeg);
  jpeg_destroy_compress(&jpeg);
  std::string text(reinterpret_cast<char*>(bytes), size);
  std::free(bytes);
  return text;
}

TEST(JpegTest, PixelsComeBackNearly) {
  const auto image = Image::DecodeJpeg(OneColourJpeg(40, 24, {200, 100, 50}), "camera 1");
  ASSERT_THAT(image, IsOk());
  EXPECT_EQ(image->width(), 40);
  EXPECT_EQ(image->height(), 24);
  EXPECT_NEAR(image->At(39, 23).r, 200, 3);
  EXPECT_NEAR(image->At(0, 0).b, 50, 3);
}

TEST(JpegTest, HostileBytesAreDecodedOrRefusedInOneLine) {
  int decoded = 0, refused = 0;
  ForHostileInput(OneColourJpeg(16, 8, {1, 2, 3}), 2000, [&](const std::string& bytes) {
    const auto image = Image::DecodeJpeg(bytes, "camera 1");
    if (image.ok()) {
      ++decoded;
      return;
    }
    ++refused;
    ASSERT_THAT(image,
                StatusIs(absl::StatusCode::kInvalidArgument, ::testing::HasSubstr("camera 1 cannot be read as JPEG")));
    ASSERT_THAT(image.status().message(), IsOneLine());
  });
  EXPECT_GT(decoded, 100);
  EXPECT_GT(refused, 500);
}

TEST(JpegTest, ImagesOfARealFrameAreDecoded) {
  const std::string path = SharedPath("data/waymo/v1/one_frame_with_images.tfrecord");
  KD_REQUIRE_FILE(path);
  const auto file = TfRecordFile::Open(path);
  ASSERT_THAT(file, IsOk());
  const auto frame = ParseWaymoFrame(*file->Read(0));
  ASSERT_THAT(frame, IsOk());
  ASSERT_EQ(frame->images.size(), 5u);
  for (const WaymoImage& image : frame->images) {
    const auto decoded = Image::DecodeJpeg(image.jpeg, "an image");
    ASSERT_THAT(decoded, IsOk());
    EXPECT_EQ(decoded->width(), 1920);
    EXPECT_EQ(decoded->height(), image.camera <= 3 ? 1280 : 886);
  }
}

}  // namespace
}  // namespace kd
