#include "data/point_rows.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto rows = kd::ParseNpy(kd::InputText(data, size), "a.npy");
  if (!rows.ok()) {
    kd::RequireRefusal(rows.status(), {absl::StatusCode::kDataLoss});
    return 0;
  }
  kd::Require(rows->columns >= 3 && rows->values.size() == rows->num_points() * rows->columns, "rows are whole");
  kd::Require(rows->values.size() * 4 <= size, "no number is made up");
  return 0;
}
