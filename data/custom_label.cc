#include "data/custom_label.h"

#include <array>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace kd {
namespace {

constexpr size_t kNumbers = 7;
constexpr double kLargestNumber = 1e9;
constexpr size_t kLongestClass = 64;

absl::StatusOr<CustomObject> ParseLine(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (fields.size() != kNumbers + 1) {
    return absl::DataLossError(absl::StrCat(fields.size(), " fields, expected ", kNumbers + 1,
                                            " (x y z dx dy dz heading class); mend or remove the line"));
  }
  std::array<double, kNumbers> numbers;
  for (size_t i = 0; i < kNumbers; ++i) {
    if (!absl::SimpleAtod(fields[i], &numbers[i]) || !(std::abs(numbers[i]) <= kLargestNumber)) {
      return absl::DataLossError(absl::StrCat("field ", i + 1, " is \"", absl::CHexEscape(fields[i].substr(0, 40)),
                                              "\", expected a number of at most 1e9; mend or remove the line"));
    }
  }
  if (fields[kNumbers].size() > kLongestClass) {
    return absl::DataLossError(absl::StrCat("the class has ", fields[kNumbers].size(), " letters, at most ",
                                            kLongestClass, " are possible; mend or remove the line"));
  }
  const double heading = std::remainder(numbers[6], 2 * M_PI);
  CustomObject object{.box = {.x = static_cast<float>(numbers[0]),
                              .y = static_cast<float>(numbers[1]),
                              .z = static_cast<float>(numbers[2]),
                              .dx = static_cast<float>(numbers[3]),
                              .dy = static_cast<float>(numbers[4]),
                              .dz = static_cast<float>(numbers[5]),
                              .yaw = static_cast<float>(heading < M_PI ? heading : heading - 2 * M_PI)},
                      .type = std::string(fields[kNumbers])};
  if (!(object.box.dx > 0 && object.box.dy > 0 && object.box.dz > 0)) {
    return absl::DataLossError(absl::StrCat("the box is ", object.box.dx, " x ", object.box.dy, " x ", object.box.dz,
                                            ", sizes must be above 0; mend or remove the line"));
  }
  return object;
}

}  // namespace

absl::StatusOr<std::vector<CustomObject>> ParseCustomObjects(absl::string_view text, absl::string_view file_name) {
  std::vector<CustomObject> objects;
  int line_number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    absl::StatusOr<CustomObject> object = ParseLine(line);
    if (!object.ok()) return Annotate(object.status(), absl::StrCat(file_name, ":", line_number));
    objects.push_back(*std::move(object));
  }
  return objects;
}

std::string FormatCustomObject(const CustomObject& o) {
  return absl::StrFormat("%.6f %.6f %.6f %.6f %.6f %.6f %.6f %s", o.box.x, o.box.y, o.box.z, o.box.dx, o.box.dy,
                         o.box.dz, o.box.yaw, o.type);
}

}  // namespace kd
