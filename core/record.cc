#include "core/record.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status.h"
#include "core/float16.h"

namespace kd {
namespace {

constexpr size_t kPrefixBytes = sizeof(uint32_t) + sizeof(uint64_t);
constexpr size_t kTrailerBytes = sizeof(uint32_t);
constexpr uint64_t kMaxElements = uint64_t{1} << 32;

int ElementSize(v1::DataType dtype) {
  switch (dtype) {
    case v1::DATA_TYPE_FLOAT32:
    case v1::DATA_TYPE_INT32:
      return 4;
    case v1::DATA_TYPE_FLOAT16:
    case v1::DATA_TYPE_BFLOAT16:
      return 2;
    case v1::DATA_TYPE_INT8:
      return 1;
    default:
      return 0;
  }
}

// How much of the original a number type keeps.
int Richness(v1::DataType dtype) {
  switch (dtype) {
    case v1::DATA_TYPE_FLOAT32:
      return 3;
    case v1::DATA_TYPE_FLOAT16:
    case v1::DATA_TYPE_BFLOAT16:
      return 2;
    case v1::DATA_TYPE_INT8:
      return 1;
    default:
      return 0;
  }
}

// How the values of a record are laid out: rows x columns, and which axis is the channel of INT8.
struct Layout {
  uint64_t rows = 0;
  uint64_t columns = 0;
  bool channel_is_row = false;

  uint64_t elements() const { return rows * columns; }
  uint64_t channels() const { return channel_is_row ? rows : columns; }
  uint64_t channel_of(uint64_t element) const { return channel_is_row ? element / columns : element % columns; }
};

// The dense tensor is channels x the rest; a selection keeps rows of all channels (PIVOTAL) or rows of shape[1:]
// (OBJECTS, whose shape is {objects, ...}).
absl::StatusOr<Layout> LayoutOf(const v1::RecordHeader& header) {
  if (header.shape().empty()) return absl::InvalidArgumentError("record has no shape");
  uint64_t rest = 1;
  for (int i = 1; i < header.shape_size(); ++i) {
    rest *= header.shape(i);
    if (rest > kMaxElements) return absl::InvalidArgumentError("record's shape is too large");
  }
  Layout layout;
  switch (header.selection()) {
    case v1::SELECTION_ALL:
      layout = {.rows = header.shape(0), .columns = rest, .channel_is_row = true};
      break;
    case v1::SELECTION_PIVOTAL:
      layout = {.rows = header.count(), .columns = header.shape(0)};
      break;
    case v1::SELECTION_OBJECTS:
      layout = {.rows = header.count(), .columns = rest};
      break;
    default:
      return absl::InvalidArgumentError("record names no selection");
  }
  if (layout.columns != 0 && layout.rows > kMaxElements / layout.columns) {
    return absl::InvalidArgumentError("record's shape is too large");
  }
  return layout;
}

std::string Named(const v1::RecordHeader& header) {
  return absl::StrCat("record \"", absl::CHexEscape(header.tensor().substr(0, 64)), "\"");
}

void AppendValue(std::string& out, const void* value, size_t size) {
  out.append(static_cast<const char*>(value), size);
}

void QuantizeInt8(const std::vector<float>& values, const Layout& layout, v1::RecordHeader& header, std::string& out) {
  const size_t channels = layout.channels();
  std::vector<float> low(channels, std::numeric_limits<float>::infinity());
  std::vector<float> high(channels, -std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t c = layout.channel_of(i);
    low[c] = std::min(low[c], values[i]);
    high[c] = std::max(high[c], values[i]);
  }
  for (size_t c = 0; c < channels; ++c) {
    if (!(low[c] <= high[c])) low[c] = high[c] = 0;
    const float scale = high[c] > low[c] ? (high[c] - low[c]) / 255.0f : 1.0f;
    header.add_scale(scale);
    header.add_zero_point(static_cast<int32_t>(-128 - std::lround(low[c] / scale)));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const int c = static_cast<int>(layout.channel_of(i));
    const int q = static_cast<int>(std::lround(values[i] / header.scale(c))) + header.zero_point(c);
    out.push_back(static_cast<char>(static_cast<int8_t>(std::clamp(q, -128, 127))));
  }
}

}  // namespace

absl::StatusOr<std::string> EncodeRecord(v1::RecordHeader header, const std::vector<uint32_t>& indices,
                                         const std::vector<float>& values) {
  if (header.selection() == v1::SELECTION_PIVOTAL) header.set_count(static_cast<uint32_t>(indices.size()));
  if (header.selection() == v1::SELECTION_OBJECTS) header.set_count(header.shape_size() > 0 ? header.shape(0) : 0);
  KD_ASSIGN_OR_RETURN(const Layout layout, LayoutOf(header));
  if (layout.elements() != values.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(Named(header), ": ", values.size(), " values for ", layout.rows, " x ", layout.columns));
  }
  std::string payload;
  for (const uint32_t index : indices) AppendValue(payload, &index, sizeof(index));
  header.clear_scale();
  header.clear_zero_point();
  switch (header.dtype()) {
    case v1::DATA_TYPE_FLOAT32:
      AppendValue(payload, values.data(), values.size() * sizeof(float));
      break;
    case v1::DATA_TYPE_FLOAT16:
      for (const float value : values) {
        const uint16_t half = FloatToHalf(value);
        AppendValue(payload, &half, sizeof(half));
      }
      break;
    case v1::DATA_TYPE_INT8:
      if (const auto bad =
              std::find_if_not(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
          bad != values.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(Named(header), ": value ", bad - values.begin(), " is ", *bad,
                         ", which INT8 cannot hold; the teacher's training diverged, train it anew"));
      }
      QuantizeInt8(values, layout, header, payload);
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat(Named(header), ": number type ", v1::DataType_Name(header.dtype()),
                                                     " cannot be stored; use FLOAT32, FLOAT16 or INT8"));
  }
  const std::string head = header.SerializeAsString();
  const uint32_t head_size = static_cast<uint32_t>(head.size());
  const uint64_t payload_size = payload.size();
  std::string record;
  record.reserve(kPrefixBytes + head.size() + payload.size() + kTrailerBytes);
  AppendValue(record, &head_size, sizeof(head_size));
  AppendValue(record, &payload_size, sizeof(payload_size));
  record += head;
  record += payload;
  const uint32_t crc = Crc32c(record);
  AppendValue(record, &crc, sizeof(crc));
  return record;
}

absl::StatusOr<RecordView> ParseRecord(absl::string_view bytes) {
  if (bytes.size() < kPrefixBytes + kTrailerBytes) {
    return absl::DataLossError(absl::StrCat("record is cut short: ", bytes.size(), " bytes"));
  }
  uint32_t head_size;
  uint64_t payload_size;
  std::memcpy(&head_size, bytes.data(), sizeof(head_size));
  std::memcpy(&payload_size, bytes.data() + sizeof(head_size), sizeof(payload_size));
  const uint64_t room = bytes.size() - kPrefixBytes - kTrailerBytes;
  if (head_size > room || payload_size > room - head_size) {
    return absl::DataLossError(absl::StrCat("record of ", head_size, " + ", payload_size, " bytes does not fit the ",
                                            bytes.size(), " bytes that are there"));
  }
  RecordView view;
  view.size = kPrefixBytes + head_size + payload_size + kTrailerBytes;
  uint32_t crc;
  std::memcpy(&crc, bytes.data() + view.size - kTrailerBytes, sizeof(crc));
  if (Crc32c(bytes.substr(0, view.size - kTrailerBytes)) != crc) {
    return absl::DataLossError("record's checksum is wrong");
  }
  if (!view.header.ParseFromArray(bytes.data() + kPrefixBytes, static_cast<int>(head_size))) {
    return absl::DataLossError("record's header is not a RecordHeader message");
  }
  view.payload = bytes.substr(kPrefixBytes + head_size, payload_size);
  return view;
}

absl::StatusOr<DecodedRecord> DecodeRecord(absl::string_view bytes) {
  KD_ASSIGN_OR_RETURN(RecordView view, ParseRecord(bytes));
  const absl::StatusOr<Layout> layout = LayoutOf(view.header);
  if (!layout.ok()) return absl::DataLossError(layout.status().message());
  const int element_size = ElementSize(view.header.dtype());
  const uint64_t index_bytes = view.header.selection() == v1::SELECTION_PIVOTAL ? layout->rows * sizeof(uint32_t) : 0;
  if (element_size == 0 || index_bytes + layout->elements() * element_size != view.payload.size()) {
    return absl::DataLossError(absl::StrCat(Named(view.header), ": ", view.payload.size(),
                                            " payload bytes do not fit its shape and number type"));
  }
  DecodedRecord record;
  record.indices.resize(index_bytes / sizeof(uint32_t));
  // An empty vector has no address, which memcpy must not get.
  if (index_bytes > 0) std::memcpy(record.indices.data(), view.payload.data(), index_bytes);
  const char* data = view.payload.data() + index_bytes;
  record.values.resize(layout->elements());
  switch (view.header.dtype()) {
    case v1::DATA_TYPE_FLOAT32:
      if (!record.values.empty()) std::memcpy(record.values.data(), data, record.values.size() * sizeof(float));
      break;
    case v1::DATA_TYPE_FLOAT16:
      for (size_t i = 0; i < record.values.size(); ++i) {
        uint16_t half;
        std::memcpy(&half, data + i * sizeof(half), sizeof(half));
        record.values[i] = HalfToFloat(half);
      }
      break;
    case v1::DATA_TYPE_INT8: {
      if (static_cast<uint64_t>(view.header.scale_size()) != layout->channels() ||
          view.header.zero_point_size() != view.header.scale_size()) {
        return absl::DataLossError(absl::StrCat(Named(view.header), ": one scale and zero point per channel expected"));
      }
      for (size_t i = 0; i < record.values.size(); ++i) {
        const int c = static_cast<int>(layout->channel_of(i));
        record.values[i] = view.header.scale(c) *
                           static_cast<float>(int64_t{static_cast<int8_t>(data[i])} - view.header.zero_point(c));
      }
      break;
    }
    default:
      return absl::DataLossError(absl::StrCat(Named(view.header), ": unknown number type"));
  }
  record.header = std::move(view.header);
  return record;
}

bool Covers(const v1::RecordHeader& header, const v1::ResponsePlan::Item& item) {
  if (header.tensor() != item.tensor() || header.selection() != item.selection()) return false;
  if (Richness(header.dtype()) < Richness(item.dtype())) return false;
  return item.selection() != v1::SELECTION_PIVOTAL || header.top_k() >= item.top_k();
}

v1::ResponsePlan MergePlans(const v1::ResponsePlan& a, const v1::ResponsePlan& b) {
  v1::ResponsePlan merged = a;
  for (const v1::ResponsePlan::Item& item : b.items()) {
    const auto same =
        std::find_if(merged.mutable_items()->begin(), merged.mutable_items()->end(), [&](const auto& other) {
          return other.tensor() == item.tensor() && other.selection() == item.selection() &&
                 other.grid_size() == item.grid_size();
        });
    if (same == merged.mutable_items()->end()) {
      *merged.add_items() = item;
      continue;
    }
    same->set_top_k(std::max(same->top_k(), item.top_k()));
    if (Richness(item.dtype()) > Richness(same->dtype())) same->set_dtype(item.dtype());
  }
  return merged;
}

}  // namespace kd
