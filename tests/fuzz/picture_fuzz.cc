// PNG files and JPEG bytes.
#include "eval/picture.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = kd::InputText(data, size);
  for (const auto& image :
       {kd::Image::DecodeJpeg(bytes, "camera 1"), kd::Image::ReadPng(kd::WriteInput("a.png", bytes))}) {
    if (!image.ok()) {
      kd::RequireRefusal(image.status(), {absl::StatusCode::kInvalidArgument});
    } else {
      kd::Require(image->width() > 0 && image->height() > 0, "an image has pixels");
      image->At(image->width() - 1, image->height() - 1);
    }
  }
  return 0;
}
