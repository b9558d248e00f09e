// The RAM tier.
#ifndef KD_STORAGE_MEMORY_MEMORY_RESPONSE_STORE_H_
#define KD_STORAGE_MEMORY_MEMORY_RESPONSE_STORE_H_

#include <cstdint>
#include <memory>

#include "storage/response_store.h"

namespace kd {

// Keeps records within `capacity_bytes`. When it is full, a newcomer takes the place of the least recently used records
// only if each of them was wanted clearly less often than it lately, or not at all for some hundred thousand lookups:
// an epoch over more records than fit must not push out everything just before its next use. A record that is not let
// in is no error. A record larger than the whole store is RESOURCE_EXHAUSTED and changes nothing.
std::unique_ptr<ResponseStore> NewMemoryResponseStore(uint64_t capacity_bytes);

}  // namespace kd

#endif  // KD_STORAGE_MEMORY_MEMORY_RESPONSE_STORE_H_
