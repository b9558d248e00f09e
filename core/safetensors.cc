#include "core/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kPrefixBytes = 8;

absl::Status Bad(absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("not a safetensors file: ", problem));
}

// Bytes of a tensor; no value when the product overflows or a number is negative.
std::optional<uint64_t> ByteSize(const std::vector<int64_t>& shape, int element_size) {
  uint64_t size = static_cast<uint64_t>(element_size);
  for (const int64_t extent : shape) {
    if (extent < 0) return std::nullopt;
    if (extent > 0 && size > std::numeric_limits<uint64_t>::max() / static_cast<uint64_t>(extent)) return std::nullopt;
    size *= static_cast<uint64_t>(extent);
  }
  return size;
}

struct Entry {
  std::string name;
  SafeTensor tensor;
  uint64_t begin = 0, end = 0;
};

absl::StatusOr<Entry> ParseEntry(const std::string& name, const nlohmann::json& value, uint64_t data_bytes) {
  const auto bad = [&](absl::string_view problem) {
    return Bad(absl::StrCat("tensor \"", absl::CHexEscape(name.substr(0, 80)), "\": ", problem));
  };
  if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() || !value.contains("shape") ||
      !value["shape"].is_array() || !value.contains("data_offsets") || !value["data_offsets"].is_array() ||
      value["data_offsets"].size() != 2) {
    return bad("dtype, shape and data_offsets expected");
  }
  Entry entry{.name = name};
  entry.tensor.dtype = value["dtype"].get<std::string>();
  const int element_size = SafeTensorElementSize(entry.tensor.dtype);
  if (element_size == 0)
    return bad(absl::StrCat("unknown dtype \"", absl::CHexEscape(entry.tensor.dtype.substr(0, 16)), "\""));
  for (const auto& extent : value["shape"]) {
    if (!extent.is_number_unsigned() || extent.get<uint64_t>() > (uint64_t{1} << 62))
      return bad("shape is not a list of sizes");
    entry.tensor.shape.push_back(extent.get<int64_t>());
  }
  for (const auto& offset : value["data_offsets"]) {
    if (!offset.is_number_unsigned()) return bad("data_offsets are not numbers");
  }
  entry.begin = value["data_offsets"][0].get<uint64_t>();
  entry.end = value["data_offsets"][1].get<uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return bad(
        absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, "] lie outside the ", data_bytes, " data bytes"));
  }
  const std::optional<uint64_t> size = ByteSize(entry.tensor.shape, element_size);
  if (!size.has_value() || *size != entry.end - entry.begin) return bad("shape and dtype do not match data_offsets");
  return entry;
}

}  // namespace

int SafeTensorElementSize(absl::string_view dtype) {
  if (dtype == "F64" || dtype == "I64" || dtype == "U64") return 8;
  if (dtype == "F32" || dtype == "I32" || dtype == "U32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16" || dtype == "U16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL") return 1;
  return 0;
}

absl::StatusOr<SafeTensorsFile> ParseSafeTensors(absl::string_view bytes) {
  uint64_t header_bytes;
  if (bytes.size() < kPrefixBytes) return Bad("shorter than 8 bytes");
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > kMaxHeaderBytes || header_bytes > bytes.size() - kPrefixBytes) {
    return Bad(absl::StrCat("header length ", header_bytes, " does not fit ", bytes.size(), " bytes"));
  }
  const char* begin = bytes.data() + kPrefixBytes;
  // The parser keeps the last of two equal keys; a callback sees them all.
  std::vector<std::string> keys;
  bool too_deep = false;
  const auto watch = [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& parsed) {
    if (depth > 8) too_deep = true;
    if (depth == 1 && event == nlohmann::json::parse_event_t::key) keys.push_back(parsed.get<std::string>());
    return !too_deep;
  };
  const nlohmann::json header = nlohmann::json::parse(begin, begin + header_bytes, watch, /*allow_exceptions=*/false);
  if (too_deep || header.is_discarded() || !header.is_object()) return Bad("header is not a JSON object");
  std::sort(keys.begin(), keys.end());
  if (const auto twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end()) {
    return Bad(absl::StrCat("name \"", absl::CHexEscape(twice->substr(0, 80)), "\" appears twice"));
  }

  const absl::string_view data = bytes.substr(kPrefixBytes + header_bytes);
  SafeTensorsFile file;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return Bad("__metadata__ is not an object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) return Bad("__metadata__ holds something else than text");
        file.metadata[key] = text.get<std::string>();
      }
      continue;
    }
    absl::StatusOr<Entry> entry = ParseEntry(name, value, data.size());
    if (!entry.ok()) return entry.status();
    entries.push_back(*std::move(entry));
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t position = 0;
  for (Entry& entry : entries) {
    if (entry.begin != position)
      return Bad(
          absl::StrCat("tensor \"", absl::CHexEscape(entry.name.substr(0, 80)), "\" overlaps another or leaves a gap"));
    position = entry.end;
    entry.tensor.bytes = std::string(data.substr(entry.begin, entry.end - entry.begin));
    file.tensors.emplace(std::move(entry.name), std::move(entry.tensor));
  }
  if (position != data.size()) return Bad(absl::StrCat(data.size() - position, " bytes after the last tensor"));
  return file;
}

std::string SerializeSafeTensors(const SafeTensorsFile& file) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  uint64_t position = 0;
  for (const auto& [name, tensor] : file.tensors) {
    header[name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {position, position + tensor.bytes.size()}}};
    position += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const uint64_t header_bytes = text.size();
  std::string bytes(reinterpret_cast<const char*>(&header_bytes), sizeof(header_bytes));
  bytes.reserve(bytes.size() + text.size() + position);
  bytes += text;
  for (const auto& [name, tensor] : file.tensors) bytes += tensor.bytes;
  return bytes;
}

}  // namespace kd
