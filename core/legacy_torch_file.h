// What torch.save wrote before 1.6: pickles and storages one after the other, without an archive around them.
//
//   file     = magic version system object keys storage*
//   magic    = the pickled number 0x1950a86a20f9469cfc6c     version = the pickled number 1001
//   system   = a pickled dictionary of sizes, not looked at  object  = the pickle of what was saved
//   keys     = a pickled list of the storages' keys          storage = int64 count, then `count` numbers
//
// Storages stand in the order of `keys`; what type of number one has, only the object tells, which refers to it by its
// key. All numbers are little-endian.
#ifndef KD_CORE_LEGACY_TORCH_FILE_H_
#define KD_CORE_LEGACY_TORCH_FILE_H_

#include <functional>
#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/pickle_tree.h"

namespace kd {

struct LegacyTorchFile {
  PickleTree object;
  // By their keys; they lie in the parsed bytes.
  std::map<std::string, absl::string_view, std::less<>> storages;
};

// By its first bytes.
bool IsLegacyTorchFile(absl::string_view bytes);

// INVALID_ARGUMENT: a pickle that ends early, is too large or asks to call what no checkpoint needs (quoted); a storage
// that the object does not describe, describes in two ways or that stands there twice; a count that differs from the
// object's or leaves the file; bytes after the last storage.
absl::StatusOr<LegacyTorchFile> ParseLegacyTorchFile(absl::string_view bytes);

}  // namespace kd

#endif  // KD_CORE_LEGACY_TORCH_FILE_H_
