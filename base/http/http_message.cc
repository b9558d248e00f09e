#include "base/http/http_message.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace kd {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = absl::ascii_tolower(static_cast<unsigned char>(c));
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

enum class Plus { kIsItself, kIsSpace };

absl::StatusOr<std::string> PercentDecode(absl::string_view text, Plus plus) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '+' && plus == Plus::kIsSpace) c = ' ';
    if (c == '%') {
      const int high = i + 2 < text.size() ? HexValue(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? HexValue(text[i + 2]) : -1;
      if (high < 0 || low < 0) return absl::InvalidArgumentError("a '%' is not followed by two hexadecimal digits");
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return absl::InvalidArgumentError("there is a zero byte");
    decoded.push_back(c);
  }
  return decoded;
}

bool ParseDecimal(absl::string_view digits, uint64_t* value) {
  return !digits.empty() && digits.find_first_not_of("0123456789") == absl::string_view::npos &&
         absl::SimpleAtoi(digits, value);
}

}  // namespace

void HttpHeaders::Set(absl::string_view name, absl::string_view value) {
  for (auto& [field, content] : fields_) {
    if (!absl::EqualsIgnoreCase(field, name)) continue;
    content = std::string(value);
    return;
  }
  fields_.emplace_back(name, value);
}

absl::string_view HttpHeaders::Get(absl::string_view name) const {
  for (const auto& [field, content] : fields_) {
    if (absl::EqualsIgnoreCase(field, name)) return content;
  }
  return "";
}

HttpResponse TextResponse(int status, absl::string_view text) {
  return {
      .status = status, .headers = {{"Content-Type", "text/plain; charset=utf-8"}}, .body = absl::StrCat(text, "\n")};
}

absl::Status ParseHttpTarget(absl::string_view target, HttpRequest& request) {
  if (target.empty() || target[0] != '/') return absl::InvalidArgumentError("the target must begin with '/'");
  const size_t question = target.find('?');
  KD_ASSIGN_OR_RETURN(request.path, PercentDecode(target.substr(0, question), Plus::kIsItself));
  if (question == absl::string_view::npos) return absl::OkStatus();
  for (const absl::string_view field : absl::StrSplit(target.substr(question + 1), '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(field, absl::MaxSplits('=', 1));
    KD_ASSIGN_OR_RETURN(const std::string name, PercentDecode(parts.first, Plus::kIsSpace));
    KD_ASSIGN_OR_RETURN(const std::string value, PercentDecode(parts.second, Plus::kIsSpace));
    request.query.emplace(name, value);
  }
  return absl::OkStatus();
}

std::string PercentEncode(absl::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains("-._~", c)) {
      encoded.push_back(c);
    } else {
      absl::StrAppendFormat(&encoded, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

absl::StatusOr<ByteRange> SelectByteRange(absl::string_view range_header, uint64_t total) {
  const ByteRange all{.first = 0, .size = total, .partial = false};
  absl::string_view text = range_header;
  if (!absl::ConsumePrefix(&text, "bytes=") || absl::StrContains(text, ',')) return all;
  const size_t dash = text.find('-');
  if (dash == absl::string_view::npos) return all;
  const absl::string_view from = absl::StripAsciiWhitespace(text.substr(0, dash));
  const absl::string_view to = absl::StripAsciiWhitespace(text.substr(dash + 1));
  const absl::Status nothing = absl::OutOfRangeError(
      absl::StrCat("no byte of ", absl::CHexEscape(range_header.substr(0, 100)), " is among ", total, " bytes"));
  uint64_t first = 0, last = 0;
  if (from.empty()) {  // The last bytes.
    if (!ParseDecimal(to, &last)) return all;
    const uint64_t size = std::min(last, total);
    if (size == 0) return nothing;
    return ByteRange{.first = total - size, .size = size, .partial = true};
  }
  if (!ParseDecimal(from, &first)) return all;
  if (to.empty()) {
    last = UINT64_MAX;
  } else if (!ParseDecimal(to, &last) || last < first) {
    return all;
  }
  if (first >= total) return nothing;
  return ByteRange{.first = first, .size = std::min(last, total - 1) - first + 1, .partial = true};
}

}  // namespace kd
