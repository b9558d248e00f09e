// The digest of a split whose frames lie in files of their own.
#ifndef KD_DATA_SPLIT_DIGEST_H_
#define KD_DATA_SPLIT_DIGEST_H_

#include <cstddef>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Threads that look for files: they wait for a disk or a network, not for a processor.
inline constexpr size_t kFileThreads = 16;

// "sha256:..." of `head` and the parts of frames 0 to below `count`, one after the other. `part` is called by several
// threads at once. Errors: of the first frame whose part has one.
absl::StatusOr<std::string> SplitDigest(absl::string_view head, size_t count,
                                        const std::function<absl::StatusOr<std::string>(size_t frame)>& part);

}  // namespace kd

#endif  // KD_DATA_SPLIT_DIGEST_H_
