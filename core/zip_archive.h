// Zip archives that lie in memory, as far as torch's files need them: entries that are not compressed.
#ifndef KD_CORE_ZIP_ARCHIVE_H_
#define KD_CORE_ZIP_ARCHIVE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

struct zip;

namespace kd {

class ZipArchive {
 public:
  // `bytes` outlives the archive. INVALID_ARGUMENT: not a zip archive, or two entries of one name.
  static absl::StatusOr<ZipArchive> Open(absl::string_view bytes);

  // Names, sorted.
  std::vector<std::string> Names() const;
  bool Has(const std::string& name) const { return entries_.contains(name); }

  // The whole entry; its checksum is verified. INVALID_ARGUMENT: not there, compressed or encrypted, another size than
  // `want_bytes` (unless that is negative), damaged, or more than the archive's own bytes were read by now.
  absl::StatusOr<std::string> Read(const std::string& name, int64_t want_bytes = -1);

 private:
  struct Close {
    void operator()(::zip* archive) const;
  };

  uint64_t left_ = 0;
  std::unique_ptr<::zip, Close> archive_;
  std::map<std::string, uint64_t> entries_;
};

// An archive of `entries`, in their order, not compressed. The same input gives the same bytes.
absl::StatusOr<std::string> WriteZip(const std::vector<std::pair<std::string, std::string>>& entries);

}  // namespace kd

#endif  // KD_CORE_ZIP_ARCHIVE_H_
