#include <liblzf/lzf.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/text.h"
#include "data/point_rows.h"

namespace kd {
namespace {

constexpr uint64_t kMaxBytes = uint64_t{1} << 30;
constexpr size_t kMaxFields = 256;
constexpr uint64_t kMaxCount = 1 << 16;
constexpr uint32_t kMostExpansion = 128;
// Of the field that is a point's intensity, the first one that is there.
constexpr const char* kIntensityNames[] = {"intensity", "Intensity", "i"};

struct PcdField {
  std::string name;
  uint64_t size = 4;
  char type = 'F';
  uint64_t count = 1;

  uint64_t bytes() const { return size * count; }
};

enum class PcdData { kAscii, kBinary, kCompressed };

struct PcdHeader {
  std::vector<PcdField> fields;
  uint64_t points = 0;
  PcdData data = PcdData::kAscii;
  // Of the first byte, and in ascii the first line, behind the header.
  size_t data_at = 0;
  int data_line = 0;

  uint64_t row_bytes() const {
    uint64_t bytes = 0;
    for (const PcdField& field : fields) bytes += field.bytes();
    return bytes;
  }
};

std::vector<absl::string_view> Words(absl::string_view line) {
  return absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
}

bool IsKnownType(const PcdField& f) {
  if (f.type == 'F') return f.size == 4 || f.size == 8;
  return (f.type == 'I' || f.type == 'U') && (f.size == 1 || f.size == 2 || f.size == 4 || f.size == 8);
}

class HeaderReader {
 public:
  HeaderReader(absl::string_view bytes, absl::string_view file_name) : bytes_(bytes), file_name_(file_name) {}

  absl::StatusOr<PcdHeader> Read() {
    while (at_ < bytes_.size()) {
      const size_t end = std::min(bytes_.find('\n', at_), bytes_.size());
      const std::vector<absl::string_view> words = Words(bytes_.substr(at_, std::min<size_t>(end - at_, 1 << 14)));
      ++line_;
      at_ = std::min(end + 1, bytes_.size());
      if (words.empty() || words[0][0] == '#') continue;
      KD_RETURN_IF_ERROR(ReadLine(words));
      if (words[0] == "DATA") return Finish();
    }
    return Error("no line DATA; the file is no .pcd file, or is cut short");
  }

 private:
  absl::Status Error(absl::string_view problem) const {
    return absl::DataLossError(absl::StrCat(file_name_, ":", line_, ": ", problem,
                                            "; write it anew, for example with pcl_convert_pcd_ascii_binary"));
  }

  absl::StatusOr<uint64_t> Number(absl::string_view word, uint64_t max) const {
    uint64_t number = 0;
    if (!absl::SimpleAtoi(word, &number) || number > max) {
      return Error(absl::StrCat(Quoted(word), " is not a number of at most ", max));
    }
    return number;
  }

  absl::Status ReadLine(const std::vector<absl::string_view>& words) {
    const absl::string_view key = words[0];
    if (key == "VERSION" || key == "VIEWPOINT") return absl::OkStatus();
    if (key == "FIELDS") {
      if (words.size() < 2 || words.size() > kMaxFields || !header_.fields.empty()) {
        return Error(absl::StrCat("FIELDS has to stand once and name 1 to ", kMaxFields - 1, " fields"));
      }
      for (size_t i = 1; i < words.size(); ++i) header_.fields.push_back({.name = std::string(words[i])});
      return absl::OkStatus();
    }
    if (key == "SIZE" || key == "TYPE" || key == "COUNT") {
      if (words.size() != header_.fields.size() + 1) {
        return Error(absl::StrCat(key, " has ", words.size() - 1, " values for ", header_.fields.size(), " fields"));
      }
      for (size_t i = 1; i < words.size(); ++i) {
        PcdField& field = header_.fields[i - 1];
        if (key == "TYPE") {
          field.type = words[i][0];
        } else if (key == "SIZE") {
          KD_ASSIGN_OR_RETURN(field.size, Number(words[i], 8));
        } else {
          KD_ASSIGN_OR_RETURN(field.count, Number(words[i], kMaxCount));
        }
      }
      return absl::OkStatus();
    }
    if (key == "WIDTH" || key == "HEIGHT" || key == "POINTS") {
      if (words.size() != 2) return Error(absl::StrCat(key, " needs one number"));
      KD_ASSIGN_OR_RETURN((key == "WIDTH"    ? width_
                           : key == "HEIGHT" ? height_
                                             : points_),
                          Number(words[1], std::numeric_limits<uint32_t>::max()));
      has_points_ |= key == "POINTS";
      return absl::OkStatus();
    }
    if (key == "DATA") {
      const absl::string_view kind = words.size() == 2 ? words[1] : "";
      if (kind != "ascii" && kind != "binary" && kind != "binary_compressed") {
        return Error(absl::StrCat("DATA ", Quoted(kind), ", expected ascii, binary or binary_compressed"));
      }
      header_.data = kind == "ascii" ? PcdData::kAscii : kind == "binary" ? PcdData::kBinary : PcdData::kCompressed;
      return absl::OkStatus();
    }
    return Error(absl::StrCat(Quoted(key), " is no key of a .pcd header"));
  }

  absl::StatusOr<PcdHeader> Finish() {
    header_.points = has_points_ ? points_ : width_ * height_;
    header_.data_at = at_;
    header_.data_line = line_ + 1;
    if (has_points_ && width_ * height_ != points_) {
      return Error(absl::StrCat("POINTS ", points_, " is not WIDTH ", width_, " times HEIGHT ", height_));
    }
    for (const PcdField& field : header_.fields) {
      if (!IsKnownType(field)) {
        return Error(absl::StrCat("field ", Quoted(field.name), " is of type ", Quoted({&field.type, 1}), " and size ",
                                  field.size, ", expected F 4 or 8, I or U 1, 2, 4 or 8"));
      }
    }
    // Empty rows would make any number of points possible.
    if (header_.row_bytes() == 0) return Error("the fields hold no bytes");
    if (header_.points > kMaxBytes / header_.row_bytes()) {
      return Error(absl::StrCat(header_.points, " points of ", header_.row_bytes(), " bytes are more than ",
                                kMaxBytes >> 20, " MiB"));
    }
    return header_;
  }

  const absl::string_view bytes_, file_name_;
  size_t at_ = 0;
  int line_ = 0;
  PcdHeader header_;
  uint64_t width_ = 0, height_ = 1, points_ = 0;
  bool has_points_ = false;
};

template <typename T>
float Load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return static_cast<float>(value);
}

float LoadNumber(const PcdField& f, const char* bytes) {
  switch (f.type) {
    case 'F':
      return f.size == 4 ? Load<float>(bytes) : Load<double>(bytes);
    case 'I':
      return f.size == 1   ? Load<int8_t>(bytes)
             : f.size == 2 ? Load<int16_t>(bytes)
             : f.size == 4 ? Load<int32_t>(bytes)
                           : Load<int64_t>(bytes);
    default:
      return f.size == 1   ? Load<uint8_t>(bytes)
             : f.size == 2 ? Load<uint16_t>(bytes)
             : f.size == 4 ? Load<uint32_t>(bytes)
                           : Load<uint64_t>(bytes);
  }
}

// Indices into the fields, in the order of PointRows. Padding is called "_".
absl::StatusOr<std::vector<size_t>> ChooseColumns(const PcdHeader& header, absl::string_view file_name) {
  std::vector<size_t> chosen;
  const auto find = [&](absl::string_view name) {
    const auto found = std::find_if(header.fields.begin(), header.fields.end(),
                                    [&](const PcdField& f) { return f.name == name && f.count == 1; });
    return static_cast<size_t>(found - header.fields.begin());
  };
  for (const char* name : {"x", "y", "z"}) {
    const size_t at = find(name);
    if (at < header.fields.size()) {
      chosen.push_back(at);
    } else {
      const auto append = [](std::string* out, const PcdField& f) {
        absl::StrAppend(out, absl::CHexEscape(f.name.substr(0, 16)));
      };
      return absl::DataLossError(
          absl::StrCat(file_name, ": no field ", name, " among ",
                       absl::StrJoin(header.fields.begin(),
                                     header.fields.begin() + std::min<size_t>(header.fields.size(), 8), ", ", append),
                       "; rename the fields to x, y, z and intensity"));
    }
  }
  for (const char* name : kIntensityNames) {
    const size_t at = find(name);
    if (at == header.fields.size()) continue;
    chosen.push_back(at);
    break;
  }
  for (size_t i = 0; i < header.fields.size(); ++i) {
    if (header.fields[i].name == "_" || header.fields[i].count != 1) continue;
    if (std::find(chosen.begin(), chosen.end(), i) == chosen.end()) chosen.push_back(i);
  }
  return chosen;
}

absl::Status ReadAscii(absl::string_view bytes, const PcdHeader& header, const std::vector<size_t>& chosen,
                       absl::string_view file_name, std::vector<float>& values) {
  std::vector<size_t> word_of;  // by field
  size_t words_in_row = 0;
  for (const PcdField& field : header.fields) {
    word_of.push_back(words_in_row);
    words_in_row += field.count;
  }
  int line_number = header.data_line - 1;
  const auto error = [&](absl::string_view problem) {
    return absl::DataLossError(absl::StrCat(file_name, ":", line_number, ": ", problem));
  };
  uint64_t points = 0;
  for (const absl::string_view line : absl::StrSplit(bytes.substr(header.data_at), '\n')) {
    ++line_number;
    const std::vector<absl::string_view> words = Words(line);
    if (words.empty()) continue;
    if (words.size() != words_in_row) {
      return error(
          absl::StrCat(words.size(), " numbers, the header promises ", words_in_row, "; mend or remove the line"));
    }
    if (++points > header.points)
      return error(absl::StrCat("more than the ", header.points, " points of the header; mend POINTS and WIDTH"));
    for (const size_t field : chosen) {
      float value = 0;
      if (!absl::SimpleAtof(words[word_of[field]], &value)) {
        return error(absl::StrCat(Quoted(words[word_of[field]]), " is not a number; mend or remove the line"));
      }
      values.push_back(value);
    }
  }
  if (points < header.points) {
    return error(
        absl::StrCat("the file ends after ", points, " of ", header.points, " points; it is cut short, copy it anew"));
  }
  return absl::OkStatus();
}

// Field by field, each for all points.
absl::StatusOr<std::string> Decompress(absl::string_view data, const PcdHeader& header, absl::string_view place) {
  const auto error = [&](absl::string_view problem) {
    return absl::DataLossError(absl::StrCat(place, ": ", problem, "; the file is damaged, copy it anew"));
  };
  if (data.size() < 8) return error("no sizes before the compressed points");
  std::array<uint32_t, 2> sizes;
  std::memcpy(sizes.data(), data.data(), 8);
  const auto [packed, whole] = sizes;
  if (packed > data.size() - 8)
    return error(absl::StrCat(packed, " compressed bytes claimed, ", data.size() - 8, " are there"));
  // No stream of the method unpacks to more than 88 times its size: memory is not given for a claim.
  if (whole / kMostExpansion > packed) return error(absl::StrCat(packed, " bytes cannot unpack to ", whole));
  if (whole != header.points * header.row_bytes()) {
    return error(absl::StrCat("unpacks to ", whole, " bytes, ", header.points, " points need ",
                              header.points * header.row_bytes()));
  }
  std::string bytes(whole, '\0');
  if (whole > 0 && lzf_decompress(data.data() + 8, packed, bytes.data(), whole) != whole) {
    return error("the compressed points do not unpack");
  }
  return bytes;
}

}  // namespace

bool IsPcdIntensity(absl::string_view field) {
  return std::find(std::begin(kIntensityNames), std::end(kIntensityNames), field) != std::end(kIntensityNames);
}

absl::StatusOr<PointRows> ParsePcd(absl::string_view bytes, absl::string_view file_name) {
  KD_ASSIGN_OR_RETURN(const PcdHeader header, HeaderReader(bytes, file_name).Read());
  KD_ASSIGN_OR_RETURN(const std::vector<size_t> chosen, ChooseColumns(header, file_name));
  PointRows rows{.columns = chosen.size()};
  for (const size_t field : chosen) rows.names.push_back(header.fields[field].name);
  if (header.data == PcdData::kAscii) {
    KD_RETURN_IF_ERROR(ReadAscii(bytes, header, chosen, file_name, rows.values));
    return rows;
  }
  const std::string place = absl::StrCat(file_name, ": byte ", header.data_at);
  absl::string_view data = bytes.substr(header.data_at);
  const bool by_field = header.data == PcdData::kCompressed;
  std::string unpacked;
  if (by_field) {
    KD_ASSIGN_OR_RETURN(unpacked, Decompress(data, header, place));
    data = unpacked;
  }
  if (data.size() < header.points * header.row_bytes()) {
    return absl::DataLossError(absl::StrCat(place, ": ", data.size(), " bytes of points, ", header.points,
                                            " points need ", header.points * header.row_bytes(),
                                            "; the file is cut short, copy it anew"));
  }
  rows.values.resize(header.points * rows.columns);
  std::vector<uint64_t> offset_of;  // by field, of the first point
  uint64_t offset = 0;
  for (const PcdField& field : header.fields) {
    offset_of.push_back(offset);
    offset += field.bytes() * (by_field ? header.points : 1);
  }
  for (size_t column = 0; column < chosen.size(); ++column) {
    const PcdField& field = header.fields[chosen[column]];
    const uint64_t step = by_field ? field.bytes() : header.row_bytes();
    for (uint64_t i = 0; i < header.points; ++i) {
      rows.values[i * rows.columns + column] = LoadNumber(field, data.data() + offset_of[chosen[column]] + i * step);
    }
  }
  return rows;
}

}  // namespace kd
