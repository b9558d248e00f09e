// A loop whose steps do not depend on one another, by several threads.
#ifndef KD_BASE_VISIT_IN_PARALLEL_H_
#define KD_BASE_VISIT_IN_PARALLEL_H_

#include <cstddef>
#include <functional>

#include "absl/status/status.h"

namespace kd {

// Calls `visit(thread, i)` for every i from `first` to below `count`, handed out in ascending order to `threads`
// threads (at least 1), numbered from 0, the caller's among them. Returns when all have ended. When a visit fails no
// more begin, and the result is the failure of the smallest i.
absl::Status VisitInParallel(size_t first, size_t count, size_t threads,
                             const std::function<absl::Status(size_t thread, size_t i)>& visit);

}  // namespace kd

#endif  // KD_BASE_VISIT_IN_PARALLEL_H_
