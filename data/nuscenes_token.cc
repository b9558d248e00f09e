#include "data/nuscenes_token.h"

#include "absl/strings/str_cat.h"

namespace kd {

std::optional<NuscenesToken> ParseNuscenesToken(absl::string_view text) {
  constexpr size_t kDigits = 32;
  if (text.size() != kDigits) return std::nullopt;
  NuscenesToken token = 0;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return std::nullopt;
    token = token << 4 | static_cast<unsigned>(digit);
  }
  return token;
}

std::string FormatNuscenesToken(NuscenesToken token) {
  return absl::StrCat(absl::Hex(absl::Uint128High64(token), absl::kZeroPad16),
                      absl::Hex(absl::Uint128Low64(token), absl::kZeroPad16));
}

}  // namespace kd
