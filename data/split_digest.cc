#include "data/split_digest.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "base/status.h"
#include "base/visit_in_parallel.h"

namespace kd {
namespace {

// Kept in memory at once.
constexpr size_t kParts = 4096;

}  // namespace

absl::StatusOr<std::string> SplitDigest(absl::string_view head, size_t count,
                                        const std::function<absl::StatusOr<std::string>(size_t)>& part) {
  Sha256 hasher;
  hasher.Update(head);
  for (size_t first = 0; first < count; first += kParts) {
    std::vector<std::string> parts(std::min(kParts, count - first));
    KD_RETURN_IF_ERROR(VisitInParallel(0, parts.size(), kFileThreads, [&](size_t, size_t i) -> absl::Status {
      KD_ASSIGN_OR_RETURN(parts[i], part(first + i));
      return absl::OkStatus();
    }));
    for (const std::string& bytes : parts) hasher.Update(bytes);
  }
  return hasher.Finish();
}

}  // namespace kd
