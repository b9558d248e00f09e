#include <algorithm>

#include "data/point_rows.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto rows = kd::ParsePcd(kd::InputText(data, size), "a.pcd");
  if (!rows.ok()) {
    kd::RequireRefusal(rows.status(), {absl::StatusCode::kDataLoss});
    return 0;
  }
  kd::Require(rows->columns >= 3 && rows->values.size() == rows->num_points() * rows->columns, "rows are whole");
  kd::Require(rows->names.size() == rows->columns, "every column has a name");
  const auto intensity = std::find_if(rows->names.begin(), rows->names.end(), kd::IsPcdIntensity);
  kd::Require(intensity == rows->names.end() || intensity - rows->names.begin() <= 3, "intensity stands in its place");
  return 0;
}
