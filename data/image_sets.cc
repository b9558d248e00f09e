#include "data/image_sets.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestName = 64;

std::string ExistingSplits(const std::string& root) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(root + "/ImageSets", error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

}  // namespace

bool IsFrameName(absl::string_view name) {
  return !name.empty() && name.size() <= kLongestName && name[0] != '.' &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.'; });
}

absl::StatusOr<std::vector<std::string>> ReadImageSet(const std::string& root, const std::string& split) {
  // Its name is a part of a path and may come from another machine.
  if (split.empty() || split.size() > 128 || split.find('/') != std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(split.substr(0, 64)),
                                                   "\" is not the name of a split; there are: ", ExistingSplits(root)));
  }
  const std::string path = absl::StrCat(root, "/ImageSets/", split, ".txt");
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxDataTextBytes);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat("no split \"", split, "\": ", path,
                                            " is missing; add it or name another, there are: ", ExistingSplits(root)));
  }
  KD_RETURN_IF_ERROR(text.status());
  std::vector<std::string> names;
  int line_number = 0;
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    ++line_number;
    line = absl::StripAsciiWhitespace(line);
    if (line.empty()) continue;
    if (!IsFrameName(line)) {
      return absl::InvalidArgumentError(absl::StrCat(path, ":", line_number, ": \"", absl::CEscape(line.substr(0, 64)),
                                                     "\" is not a frame name; expected one like 000134"));
    }
    names.emplace_back(line);
  }
  return names;
}

}  // namespace kd
