// The format is described in NumPy's manual under numpy.lib.format.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/text.h"
#include "data/point_rows.h"

namespace kd {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxHeaderBytes = 1 << 16;
constexpr uint64_t kMaxColumns = 64;
constexpr char kSaveAnew[] = "save it with numpy.save(file, points.astype(\"<f4\"))";

struct NpyHeader {
  std::string descr;
  bool fortran_order = false;
  std::vector<uint64_t> shape;
};

// Reads the one Python literal that the format allows: a dict of a string, a bool and a tuple of integers.
class HeaderReader {
 public:
  explicit HeaderReader(absl::string_view text) : rest_(text) {}

  absl::StatusOr<NpyHeader> Read() {
    NpyHeader header;
    bool has_descr = false, has_order = false, has_shape = false;
    if (!Take("{")) return Expected("{");
    while (!Take("}")) {
      KD_ASSIGN_OR_RETURN(const std::string key, ReadString());
      if (!Take(":")) return Expected(":");
      bool* seen = key == "descr"           ? &has_descr
                   : key == "fortran_order" ? &has_order
                   : key == "shape"         ? &has_shape
                                            : nullptr;
      if (seen == nullptr || std::exchange(*seen, true)) {
        return absl::DataLossError(
            absl::StrCat("the key ", Quoted(key), seen == nullptr ? " is not known" : " is there twice"));
      }
      if (key == "descr") {
        if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(rest_), "[")) {
          return absl::DataLossError(
              absl::StrCat("it holds records with named fields, expected a plain N x C array; ",
                           "save the columns with numpy.stack([a[\"x\"], a[\"y\"], ...], axis=1)"));
        }
        KD_ASSIGN_OR_RETURN(header.descr, ReadString());
      } else if (key == "fortran_order") {
        header.fortran_order = Take("True");
        if (!header.fortran_order && !Take("False")) return Expected("True or False");
      } else {
        KD_ASSIGN_OR_RETURN(header.shape, ReadShape());
      }
      if (Take(",")) continue;
      if (Take("}")) break;
      return Expected(", or }");
    }
    if (!has_descr || !has_order || !has_shape) {
      return absl::DataLossError("it lacks one of descr, fortran_order and shape");
    }
    return header;
  }

 private:
  bool Take(absl::string_view token) {
    rest_ = absl::StripLeadingAsciiWhitespace(rest_);
    return absl::ConsumePrefix(&rest_, token);
  }

  absl::Status Expected(absl::string_view what) const {
    return absl::DataLossError(absl::StrCat("expected ", what, " before ", Quoted(rest_)));
  }

  absl::StatusOr<std::string> ReadString() {
    const char quote = Take("'") ? '\'' : Take("\"") ? '"' : '\0';
    const size_t end = quote == '\0' ? absl::string_view::npos : rest_.find(quote);
    if (end == absl::string_view::npos) return Expected("a word in quotes");
    const std::string text(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    return text;
  }

  absl::StatusOr<std::vector<uint64_t>> ReadShape() {
    if (!Take("(")) return Expected("(");
    std::vector<uint64_t> shape;
    while (!Take(")")) {
      rest_ = absl::StripLeadingAsciiWhitespace(rest_);
      size_t digits = 0;
      while (digits < rest_.size() && absl::ascii_isdigit(static_cast<unsigned char>(rest_[digits]))) ++digits;
      uint64_t number = 0;
      if (!absl::SimpleAtoi(rest_.substr(0, digits), &number)) return Expected("a length");
      rest_.remove_prefix(digits);
      shape.push_back(number);
      if (Take(",")) continue;
      if (Take(")")) break;
      return Expected(", or )");
    }
    return shape;
  }

  absl::string_view rest_;
};

// The type's size, 4 or 8.
absl::StatusOr<size_t> FloatSize(const std::string& descr) {
  if (descr == "<f4") return 4;
  if (descr == "<f8") return 8;
  if (descr.find('O') != std::string::npos) {
    return absl::DataLossError(
        absl::StrCat("it is a pickled array of objects, which is never opened because a pickle can "
                     "run any program; ",
                     kSaveAnew));
  }
  return absl::DataLossError(absl::StrCat("its type is ", Quoted(descr), ", expected \"<f4\" or \"<f8\"; ", kSaveAnew));
}

template <typename T>
std::vector<float> ToFloats(absl::string_view bytes) {
  std::vector<float> values(bytes.size() / sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = static_cast<float>(value);
  }
  return values;
}

}  // namespace

absl::StatusOr<PointRows> ParseNpy(absl::string_view bytes, absl::string_view file_name) {
  const auto error = [&](absl::string_view problem) {
    return absl::DataLossError(absl::StrCat(file_name, ": ", problem));
  };
  if (bytes.substr(0, kMagic.size()) != kMagic || bytes.size() < kMagic.size() + 2) {
    return error(absl::StrCat("byte 0 does not begin a .npy file; ", kSaveAnew));
  }
  const int major = static_cast<unsigned char>(bytes[6]);
  if (major < 1 || major > 3)
    return error(absl::StrCat("byte 6: version ", major, ", expected 1, 2 or 3; ", kSaveAnew));
  const size_t length_bytes = major == 1 ? 2 : 4, header_at = kMagic.size() + 2 + length_bytes;
  uint64_t length = 0;
  for (size_t i = 0; i < length_bytes && header_at <= bytes.size(); ++i) {
    length |= uint64_t{static_cast<unsigned char>(bytes[8 + i])} << 8 * i;
  }
  if (header_at > bytes.size() || length > std::min(bytes.size() - header_at, kMaxHeaderBytes)) {
    return error(
        absl::StrCat("byte 8: a header of ", length, " bytes does not fit; the file is cut short, copy it anew"));
  }
  const auto in_header = [&](const absl::Status& status) {
    return Annotate(status, absl::StrCat(file_name, ": header at byte ", header_at));
  };
  const absl::StatusOr<NpyHeader> header = HeaderReader(bytes.substr(header_at, length)).Read();
  if (!header.ok()) return in_header(header.status());
  const absl::StatusOr<size_t> size = FloatSize(header->descr);
  if (!size.ok()) return in_header(size.status());
  const std::vector<uint64_t>& shape = header->shape;
  if (shape.size() != 2 || shape[1] < 3 || shape[1] > kMaxColumns) {
    return error(absl::StrCat("its shape is (",
                              absl::StrJoin(shape.begin(), shape.begin() + std::min<size_t>(shape.size(), 8), ", "),
                              "), expected (N, C) with C from 3 to ", kMaxColumns, "; ", kSaveAnew));
  }
  if (header->fortran_order && shape[0] > 1) {
    return error("its order is Fortran's, expected C's; save numpy.ascontiguousarray(points)");
  }
  const absl::string_view data = bytes.substr(header_at + length);
  const uint64_t row = shape[1] * *size;
  if (data.size() % row != 0 || shape[0] != data.size() / row) {
    return error(absl::StrCat("byte ", header_at + length, ": ", data.size(), " bytes of numbers, its shape (",
                              shape[0], ", ", shape[1], ") needs ", row,
                              " for each row; the file is damaged, copy it anew"));
  }
  return PointRows{.values = *size == 4 ? ToFloats<float>(data) : ToFloats<double>(data), .columns = shape[1]};
}

}  // namespace kd
