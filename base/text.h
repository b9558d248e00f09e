// Texts from elsewhere, made fit to be shown.
#ifndef KD_BASE_TEXT_H_
#define KD_BASE_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace kd {

// True when a terminal would obey a character of it instead of showing it (below 0x20, and 0x7f).
bool HasControlCharacter(absl::string_view text);

// `text` on one line: every control character is a space.
std::string OneLine(absl::string_view text);

// At most `max_bytes` (3 or more) of `text`; what is longer ends in "...". UTF-8 sequences stay whole.
std::string Shorten(absl::string_view text, size_t max_bytes);

// `text` in quotes, shortened to 80 bytes, with every byte escaped that is not printable ASCII.
std::string Quoted(absl::string_view text);

}  // namespace kd

#endif  // KD_BASE_TEXT_H_
