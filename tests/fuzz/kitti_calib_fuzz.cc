#include <cmath>

#include "data/kitti_calib.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto calib = kd::ParseKittiCalib(kd::InputText(data, size), "calib.txt");
  if (!calib.ok()) {
    kd::RequireRefusal(calib.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  kd::Require(kd::ParseKittiCalib(kd::FormatKittiCalib(*calib), "again").ok(), "what was written can be read");
  const kd::Box3d box =
      kd::KittiToLidar({.type = "Car", .height = 1.5, .width = 1.6, .length = 4, .x = 1, .z = 20}, *calib);
  kd::Require(std::isfinite(box.x + box.y + box.z + box.yaw), "a calibration can be turned round");
  kd::LidarToKitti(box, "Car", 0.5, *calib, {});
  return 0;
}
