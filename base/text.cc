#include "base/text.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace kd {
namespace {

constexpr absl::string_view kMore = "...";

bool IsControl(char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }
bool Continues(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

bool HasControlCharacter(absl::string_view text) { return std::any_of(text.begin(), text.end(), IsControl); }

std::string OneLine(absl::string_view text) {
  std::string line(text);
  std::replace_if(line.begin(), line.end(), IsControl, ' ');
  return line;
}

std::string Shorten(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes - kMore.size();
  while (end > 0 && Continues(text[end])) --end;
  return absl::StrCat(text.substr(0, end), kMore);
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kShownBytes = 80;
  return absl::StrCat("\"", absl::CHexEscape(Shorten(text, kShownBytes)), "\"");
}

}  // namespace kd
