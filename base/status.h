// Short forms for functions that return absl::Status or absl::StatusOr.
#ifndef KD_BASE_STATUS_H_
#define KD_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace kd {

// `status` with "`context`: " before its message; OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

// Moves what `result` holds, if anything, to `target`; returns its status.
template <typename T>
absl::Status Take(absl::StatusOr<T> result, T* target) {
  if (result.ok()) *target = *std::move(result);
  return result.status();
}

}  // namespace kd

#define KD_STATUS_CONCAT_INNER(a, b) a##b
#define KD_STATUS_CONCAT(a, b) KD_STATUS_CONCAT_INNER(a, b)

// Leaves the enclosing function with the status of `expression` unless it is OK.
#define KD_RETURN_IF_ERROR(expression)                                            \
  do {                                                                            \
    if (absl::Status kd_status = (expression); !kd_status.ok()) return kd_status; \
  } while (false)

// KD_ASSIGN_OR_RETURN(auto x, Compute());
#define KD_ASSIGN_OR_RETURN(lhs, expression) \
  KD_ASSIGN_OR_RETURN_IMPL(KD_STATUS_CONCAT(kd_statusor_, __LINE__), lhs, expression)
#define KD_ASSIGN_OR_RETURN_IMPL(statusor, lhs, expression) \
  auto statusor = (expression);                             \
  if (!statusor.ok()) return std::move(statusor).status();  \
  lhs = *std::move(statusor)

#endif  // KD_BASE_STATUS_H_
