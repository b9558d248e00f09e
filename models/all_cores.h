// Spreads work of our own kernels over LibTorch's threads.
#ifndef KD_MODELS_ALL_CORES_H_
#define KD_MODELS_ALL_CORES_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace kd {

// A ParallelFor (ops/parallel.h) on at::get_num_threads() threads; in the calling thread alone where that is one of
// LibTorch's own already.
void OnAllCores(int64_t count, absl::FunctionRef<void(int64_t begin, int64_t end)> body);

}  // namespace kd

#endif  // KD_MODELS_ALL_CORES_H_
