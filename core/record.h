// One teacher tensor of one view, self-describing, as stored and as sent. Layout: proto/kd/v1/tensor.proto.
#ifndef KD_CORE_RECORD_H_
#define KD_CORE_RECORD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kd/v1/plan.pb.h"
#include "kd/v1/tensor.pb.h"

namespace kd {

// A record taken apart: float32 values whatever the stored type.
struct DecodedRecord {
  v1::RecordHeader header;
  // SELECTION_PIVOTAL: cell of each row, ascending; else empty.
  std::vector<uint32_t> indices;
  // ALL: the dense tensor, row-major. PIVOTAL, OBJECTS: rows x columns.
  std::vector<float> values;
};

// Encodes `values` as `header.dtype` and fills count and (INT8) scale and zero_point.
// INVALID_ARGUMENT: sizes that do not fit header.shape and selection.
absl::StatusOr<std::string> EncodeRecord(v1::RecordHeader header, const std::vector<uint32_t>& indices,
                                         const std::vector<float>& values);

// Header and payload position of the first record in `bytes`.
struct RecordView {
  v1::RecordHeader header;
  absl::string_view payload;
  // Bytes of the whole record; the next one starts there.
  size_t size;
};
// DATA_LOSS: truncated, impossible sizes, or a CRC-32C that differs.
absl::StatusOr<RecordView> ParseRecord(absl::string_view bytes);

// DATA_LOSS as ParseRecord.
absl::StatusOr<DecodedRecord> DecodeRecord(absl::string_view bytes);

// True if a stored record answers `item`: same tensor, a selection at least as wide (ALL covers PIVOTAL's cells but not
// its ranking, so only PIVOTAL with top_k >= item's covers PIVOTAL) and a number type at least as rich.
bool Covers(const v1::RecordHeader& header, const v1::ResponsePlan::Item& item);

// One plan that answers both; items of the same tensor and selection are widened, not repeated.
v1::ResponsePlan MergePlans(const v1::ResponsePlan& a, const v1::ResponsePlan& b);

}  // namespace kd

#endif  // KD_CORE_RECORD_H_
