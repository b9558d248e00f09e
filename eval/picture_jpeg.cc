// Apart from the rest: libjpeg leaves its functions by longjmp, so nothing here may need a destructor.
// clang-format off
#include <cstdio>
#include <jpeglib.h>
// clang-format on

#include <csetjmp>

#include "absl/strings/str_cat.h"
#include "eval/picture.h"

namespace kd {
namespace {

constexpr JDIMENSION kMaxSide = 20000;
// Of all sides together: a header of a few bytes must not take more memory than any camera's picture.
constexpr uint64_t kMaxPixels = uint64_t{1} << 27;

struct Decoder {
  jpeg_decompress_struct jpeg;
  jpeg_error_mgr errors;
  std::jmp_buf out;
  char message[JMSG_LENGTH_MAX];
};

void LeaveByError(j_common_ptr common) {
  auto* const decoder = static_cast<Decoder*>(common->client_data);
  (*common->err->format_message)(common, decoder->message);
  std::longjmp(decoder->out, 1);
}

// Damage that libjpeg would paint over.
void LeaveByWarning(j_common_ptr common, int level) {
  if (level < 0) LeaveByError(common);
}

// False: `decoder.message` tells why.
bool ReadSize(absl::string_view bytes, Decoder& decoder) {
  decoder.jpeg.err = jpeg_std_error(&decoder.errors);
  decoder.errors.error_exit = LeaveByError;
  decoder.errors.emit_message = LeaveByWarning;
  decoder.jpeg.client_data = &decoder;
  if (setjmp(decoder.out) != 0) return false;
  jpeg_create_decompress(&decoder.jpeg);
  jpeg_mem_src(&decoder.jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_read_header(&decoder.jpeg, TRUE);
  decoder.jpeg.out_color_space = JCS_RGB;
  jpeg_calc_output_dimensions(&decoder.jpeg);
  return true;
}

bool ReadRows(Decoder& decoder, uint8_t* pixels) {
  if (setjmp(decoder.out) != 0) return false;
  jpeg_start_decompress(&decoder.jpeg);
  while (decoder.jpeg.output_scanline < decoder.jpeg.output_height) {
    JSAMPROW row = pixels + size_t{decoder.jpeg.output_scanline} * decoder.jpeg.output_width * 3;
    jpeg_read_scanlines(&decoder.jpeg, &row, 1);
  }
  return true;
}

}  // namespace

absl::StatusOr<Image> Image::DecodeJpeg(absl::string_view bytes, absl::string_view name) {
  Decoder decoder{};
  const auto refuse = [&](absl::string_view problem) {
    const absl::Status status =
        absl::InvalidArgumentError(absl::StrCat(name, " cannot be read as JPEG: ", problem, "; copy it anew"));
    jpeg_destroy_decompress(&decoder.jpeg);
    return status;
  };
  if (!ReadSize(bytes, decoder)) return refuse(decoder.message);
  const JDIMENSION width = decoder.jpeg.output_width, height = decoder.jpeg.output_height;
  if (width > kMaxSide || height > kMaxSide || uint64_t{width} * height > kMaxPixels) {
    return refuse(absl::StrCat(width, " x ", height, " pixels are too many"));
  }
  Image image(static_cast<int>(width), static_cast<int>(height));
  if (!ReadRows(decoder, image.pixels_.data())) return refuse(decoder.message);
  jpeg_destroy_decompress(&decoder.jpeg);
  return image;
}

}  // namespace kd
