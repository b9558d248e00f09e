#include <cmath>

#include "data/waymo_frame.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto frame = kd::ParseWaymoFrame(kd::InputText(data, size));
  if (!frame.ok()) {
    kd::RequireRefusal(frame.status(), {absl::StatusCode::kDataLoss});
    return 0;
  }
  for (const kd::WaymoCloud& cloud : frame->clouds) {
    for (const kd::WaymoPoint& point : cloud.points) {
      for (const double value : point.position) kd::Require(std::isfinite(value), "points are finite");
    }
  }
  return 0;
}
