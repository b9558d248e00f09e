#include "core/registry_reference.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace kd {
namespace {

constexpr size_t kMaxRepositoryName = 255;
constexpr size_t kMaxTag = 128;
// Of what a message quotes.
constexpr size_t kQuoted = 160;

bool IsLowerAlnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

// What may stand between two runs of letters and digits.
bool IsSeparator(absl::string_view text) {
  return text == "." || text == "_" || text == "__" || text.find_first_not_of('-') == absl::string_view::npos;
}

bool IsRepositoryPart(absl::string_view part) {
  if (part.empty() || !IsLowerAlnum(part.front()) || !IsLowerAlnum(part.back())) return false;
  for (size_t i = 0; i < part.size();) {
    size_t end = i;
    while (end < part.size() && !IsLowerAlnum(part[end])) ++end;
    if (end > i && !IsSeparator(part.substr(i, end - i))) return false;
    i = end + 1;
  }
  return true;
}

bool IsHex(absl::string_view text, size_t size) {
  return text.size() == size && text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

}  // namespace

bool IsRepositoryName(absl::string_view name) {
  if (name.size() > kMaxRepositoryName) return false;
  for (const absl::string_view part : absl::StrSplit(name, '/')) {
    if (!IsRepositoryPart(part)) return false;
  }
  return true;
}

bool IsTag(absl::string_view tag) {
  if (tag.empty() || tag.size() > kMaxTag || tag[0] == '.' || tag[0] == '-') return false;
  for (const char c : tag) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '-') return false;
  }
  return true;
}

bool IsDigest(absl::string_view digest) {
  if (absl::ConsumePrefix(&digest, "sha256:")) return IsHex(digest, 64);
  return absl::ConsumePrefix(&digest, "sha512:") && IsHex(digest, 128);
}

std::string RegistryReference::ToString() const {
  return absl::StrCat("registry://", repository, absl::StrContains(reference, ':') ? "@" : ":", reference);
}

absl::StatusOr<RegistryReference> ParseRegistryReference(absl::string_view text) {
  const auto error = [text](absl::string_view problem) {
    return absl::InvalidArgumentError(
        absl::StrCat("registry reference \"", absl::CEscape(text.substr(0, kQuoted)), "\": ", problem,
                     "; write registry://REPOSITORY:TAG or registry://REPOSITORY@sha256:HEX, "
                     "for example registry://students/cp-half:v1"));
  };
  absl::string_view rest = text;
  if (!absl::ConsumePrefix(&rest, "registry://")) return error("it does not begin with registry://");
  const size_t at = rest.find('@');
  const size_t end = at != absl::string_view::npos ? at : rest.rfind(':');
  if (end == absl::string_view::npos) return error("it has neither a tag nor a digest");
  const absl::string_view repository = rest.substr(0, end), reference = rest.substr(end + 1);
  if (!IsRepositoryName(repository)) {
    return error("the repository must be of lower-case letters and digits, with '/', '.', '_' or '-' between them");
  }
  if (at != absl::string_view::npos && !IsDigest(reference)) {
    return error("what follows '@' must be sha256: and 64 lower-case hexadecimal digits");
  }
  if (at == absl::string_view::npos && !IsTag(reference)) {
    return error(
        "the tag must be of at most 128 letters, digits, '_', '.' or '-', and begin with none of the last two");
  }
  return RegistryReference{std::string(repository), std::string(reference)};
}

}  // namespace kd
