// The RAM tier, and tiers stacked on one another.
#ifndef KD_STORAGE_MEMORY_MEMORY_RESPONSE_STORE_H_
#define KD_STORAGE_MEMORY_MEMORY_RESPONSE_STORE_H_

#include <cstdint>
#include <memory>

#include "storage/response_store.h"

namespace kd {

// Keeps records within `capacity_bytes`, evicting the least recently used. A record larger than the whole store is
// RESOURCE_EXHAUSTED and changes nothing.
std::unique_ptr<ResponseStore> NewMemoryResponseStore(uint64_t capacity_bytes);

// Looks in `fast` first, then in `slow`, whose hits are copied to `fast`; inserts into both. A failure of `fast` to keep a
// record is no error. stats() are those of `slow`.
std::unique_ptr<ResponseStore> NewTieredResponseStore(ResponseStore& fast, ResponseStore& slow);

}  // namespace kd

#endif  // KD_STORAGE_MEMORY_MEMORY_RESPONSE_STORE_H_
