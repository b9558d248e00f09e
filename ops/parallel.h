// How a kernel spreads over cores: the caller brings its own pool (LibTorch's in models/).
#ifndef KD_OPS_PARALLEL_H_
#define KD_OPS_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace kd {

// Calls body(begin, end) for ranges that together cover [0, count), at once or one after the other, and returns when
// all have ended. Results must not depend on how the ranges are cut.
using ParallelFor = absl::FunctionRef<void(int64_t count, absl::FunctionRef<void(int64_t begin, int64_t end)> body)>;

// All in the calling thread.
inline void SerialFor(int64_t count, absl::FunctionRef<void(int64_t begin, int64_t end)> body) { body(0, count); }

}  // namespace kd

#endif  // KD_OPS_PARALLEL_H_
