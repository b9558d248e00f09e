// ROOT/ImageSets/<split>.txt: the frames of a split, one name a line.
#ifndef KD_DATA_IMAGE_SETS_H_
#define KD_DATA_IMAGE_SETS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Labels, calibrations and lists are small.
inline constexpr uint64_t kMaxDataTextBytes = 16 << 20;

// Frame names become parts of paths, and samples arrive from other machines: letters, digits, '_', '-', and '.' behind
// the first letter.
bool IsFrameName(absl::string_view name);

// Names in the order of the file.
// NOT_FOUND: no such split, naming the ones that exist. INVALID_ARGUMENT: `split` cannot be a name, or a line is none.
absl::StatusOr<std::vector<std::string>> ReadImageSet(const std::string& root, const std::string& split);

}  // namespace kd

#endif  // KD_DATA_IMAGE_SETS_H_
