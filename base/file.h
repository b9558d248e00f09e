// Whole files, safely.
#ifndef KD_BASE_FILE_H_
#define KD_BASE_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Content of `path`, a regular file. NOT_FOUND, PERMISSION_DENIED or another code of errno, naming the path;
// INVALID_ARGUMENT for anything else that has a name (a folder, a pipe); RESOURCE_EXHAUSTED when it is larger than
// `max_bytes`. Never waits for a writer.
absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes = uint64_t{1} << 33);

// Replaces `path` in one step: a reader sees the old bytes or the new ones, also after power loss (file and folder are
// synced). RESOURCE_EXHAUSTED when the disk is full; the old file is then unchanged.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes);

// `mkdir -p`.
absl::Status CreateFolders(const std::string& path);

}  // namespace kd

#endif  // KD_BASE_FILE_H_
