#include "data/kitti_label.h"

#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace kd {
namespace {

constexpr size_t kLabelFields = 15;
// Beyond it no length, angle, pixel or score makes sense, and float32 products of two numbers stay finite below it.
constexpr double kLargestNumber = 1e9;

absl::StatusOr<KittiObject> ParseLine(absl::string_view line, KittiText kind) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  const size_t expected = kind == KittiText::kLabels ? kLabelFields : kLabelFields + 1;
  if (fields.size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(fields.size(), " fields, expected ", expected,
                     " (type truncated occluded alpha left top right bottom height width length x y z rotation_y",
                     kind == KittiText::kResults ? " score" : "", "); mend or remove the line"));
  }
  std::array<double, kLabelFields + 1> numbers{};
  for (size_t i = 1; i < fields.size(); ++i) {
    if (!absl::SimpleAtod(fields[i], &numbers[i]) || !(std::abs(numbers[i]) <= kLargestNumber)) {
      return absl::InvalidArgumentError(absl::StrCat("field ", i + 1, " is \"",
                                                     absl::CHexEscape(fields[i].substr(0, 40)),
                                                     "\", expected a number of at most 1e9; mend or remove the line"));
    }
  }
  if (std::abs(numbers[2]) > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("occlusion is ", numbers[2], ", expected -1, 0, 1, 2 or 3; mend or remove the line"));
  }
  KittiObject object;
  object.type = std::string(fields[0]);
  object.truncated = numbers[1];
  object.occluded = static_cast<int>(numbers[2]);
  object.alpha = numbers[3];
  for (size_t i = 0; i < 4; ++i) object.box2d[i] = numbers[4 + i];
  object.height = numbers[8];
  object.width = numbers[9];
  object.length = numbers[10];
  object.x = numbers[11];
  object.y = numbers[12];
  object.z = numbers[13];
  object.rotation_y = numbers[14];
  object.score = numbers[15];
  return object;
}

}  // namespace

absl::StatusOr<std::vector<KittiObject>> ParseKittiObjects(absl::string_view text, KittiText kind,
                                                           absl::string_view file_name) {
  std::vector<KittiObject> objects;
  int line_number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++line_number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    absl::StatusOr<KittiObject> object = ParseLine(line, kind);
    if (!object.ok()) return Annotate(object.status(), absl::StrCat(file_name, ":", line_number));
    objects.push_back(*std::move(object));
  }
  return objects;
}

std::string FormatKittiObject(const KittiObject& o, KittiText kind) {
  std::string line = absl::StrFormat("%s %.2f %d %.6f %.4f %.4f %.4f %.4f %.6f %.6f %.6f %.6f %.6f %.6f %.6f", o.type,
                                     o.truncated, o.occluded, o.alpha, o.box2d[0], o.box2d[1], o.box2d[2], o.box2d[3],
                                     o.height, o.width, o.length, o.x, o.y, o.z, o.rotation_y);
  if (kind == KittiText::kResults) absl::StrAppendFormat(&line, " %.8f", o.score);
  return line;
}

}  // namespace kd
