#include "models/all_cores.h"

#include <algorithm>
#include <atomic>

#include "ATen/Parallel.h"

// Without, at::parallel_for is a plain call.
#ifndef INTRA_OP_PARALLEL
#error "this file must be compiled with OpenMP"
#endif

namespace kd {

void OnAllCores(int64_t count, absl::FunctionRef<void(int64_t, int64_t)> body) {
  // Work is not spread evenly, so threads fetch many small parts instead of one half each.
  constexpr int64_t kPartsPerThread = 16;
  const int64_t threads = at::get_num_threads();
  const int64_t part = std::max<int64_t>(1, count / (threads * kPartsPerThread));
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, count), 1, [&](int64_t, int64_t) {
    for (int64_t begin = next.fetch_add(part); begin < count; begin = next.fetch_add(part)) {
      body(begin, std::min(begin + part, count));
    }
  });
}

}  // namespace kd
