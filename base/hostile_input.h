// Bytes that a parser must survive, and what its errors must look like. Tests only.
#ifndef KD_BASE_HOSTILE_INPUT_H_
#define KD_BASE_HOSTILE_INPUT_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "base/rng.h"
#include "gmock/gmock.h"

namespace kd {

// One line of printable UTF-8 that fits a terminal and a protobuf string.
MATCHER(IsOneLine, "is one line of printable text") {
  const std::string text(arg);
  *result_listener << text;
  if (text.empty() || text.size() > 1000) return false;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const size_t length = byte < 0x80 ? 1 : byte >> 5 == 6 ? 2 : byte >> 4 == 14 ? 3 : byte >> 3 == 30 ? 4 : 0;
    if (byte < 0x20 || byte == 0x7f || length == 0 || i + length > text.size()) return false;
    for (size_t j = 1; j < length; ++j) {
      if ((static_cast<unsigned char>(text[i + j]) & 0xc0) != 0x80) return false;
    }
    i += length;
  }
  return true;
}

// Calls `parse` with damaged forms of `good`, the same ones on every run: empty, cut at every length, every bit of the
// first KiB flipped, `rounds` random changes of up to four bytes, other line ends, a byte order mark, NUL bytes, bytes
// that are no UTF-8, numbers that are too large or none, and the text twice.
inline void ForHostileInput(const std::string& good, int rounds, const std::function<void(const std::string&)>& parse) {
  constexpr size_t kFlippedBytes = 1024;
  for (size_t length = 0; length < good.size(); ++length) parse(good.substr(0, length));
  for (size_t bit = 0; bit < std::min(good.size(), kFlippedBytes) * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    parse(bytes);
  }
  CounterRng rng(RngKeyBuilder().Add("hostile input").Add(good).key());
  constexpr char kOdd[] = "\0\x01\n\r\t \x1b\x7f\x80\xc3\xff{}[]\"':,-+.%/\\0159eEnN";
  for (int round = 0; round < rounds && !good.empty(); ++round) {
    std::string bytes = good;
    for (uint64_t i = 1 + rng.Below(4); i > 0; --i) {
      bytes[rng.Below(bytes.size())] =
          rng.Below(2) == 0 ? kOdd[rng.Below(sizeof(kOdd) - 1)] : static_cast<char>(rng.Next());
    }
    parse(bytes);
  }
  parse(absl::StrReplaceAll(good, {{"\n", "\r\n"}}));
  parse(absl::StrReplaceAll(good, {{"\n", "\r"}}));
  parse(absl::StrCat("\xef\xbb\xbf", good));
  parse(absl::StrCat("\xff\xfe", good));
  parse(good + good);
  const std::vector<std::string> insertions = {std::string(1, '\0'),
                                               "\xff",
                                               "\xed\xa0\x80",
                                               "\xc3\x28",
                                               "\x1b[2J",
                                               "\n",
                                               "nan",
                                               "-inf",
                                               "1e999",
                                               "99999999999999999999",
                                               std::string(4096, '['),
                                               std::string(4096, 'x')};
  for (const std::string& insertion : insertions) {
    for (const size_t at : {size_t{0}, good.size() / 3, good.size() / 2, good.size()}) {
      parse(absl::StrCat(good.substr(0, at), insertion, good.substr(at)));
    }
  }
}

}  // namespace kd

#endif  // KD_BASE_HOSTILE_INPUT_H_
