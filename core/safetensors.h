// The safetensors file format: 8-byte little-endian header length, JSON header, raw tensors. No torch.
#ifndef KD_CORE_SAFETENSORS_H_
#define KD_CORE_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct SafeTensor {
  // "F32", "F16", "BF16", "F64", "I8", "U8", "BOOL", "I32", "I64", ... as in the format.
  std::string dtype;
  std::vector<int64_t> shape;
  // Little-endian, row-major.
  std::string bytes;
};

struct SafeTensorsFile {
  // "__metadata__".
  std::map<std::string, std::string> metadata;
  std::map<std::string, SafeTensor> tensors;
};

// INVALID_ARGUMENT: not a safetensors file, offsets that overlap, leave gaps or point outside, sizes that do not match
// dtype and shape, header over 100 MB, duplicate names. The message says what and where; nothing is allocated by a size
// that was not checked against the file.
absl::StatusOr<SafeTensorsFile> ParseSafeTensors(absl::string_view bytes);

// The file's bytes; tensors in name order, the data starts at a multiple of 8. The same input gives the same bytes.
std::string SerializeSafeTensors(const SafeTensorsFile& file);

// Bytes per element; 0: unknown dtype.
int SafeTensorElementSize(absl::string_view dtype);

}  // namespace kd

#endif  // KD_CORE_SAFETENSORS_H_
