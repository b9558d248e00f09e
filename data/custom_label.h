// Labels of own data: one box a line in the sensor frame, `x y z dx dy dz heading class` (docs/own-data.md).
#ifndef KD_DATA_CUSTOM_LABEL_H_
#define KD_DATA_CUSTOM_LABEL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/frame.h"

namespace kd {

struct CustomObject {
  Box3d box;
  std::string type;
};

// Sizes are above 0; the heading is wrapped to [-pi, pi).
// DATA_LOSS: "<file>:<line>: ..." for a wrong number of fields, something that is no number up to 1e9, a size that is
// not above 0, a class of more than 64 letters.
absl::StatusOr<std::vector<CustomObject>> ParseCustomObjects(absl::string_view text, absl::string_view file_name);

// One line without its end.
std::string FormatCustomObject(const CustomObject& object);

}  // namespace kd

#endif  // KD_DATA_CUSTOM_LABEL_H_
