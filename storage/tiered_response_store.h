// Tiers stacked on one another.
#ifndef KD_STORAGE_TIERED_RESPONSE_STORE_H_
#define KD_STORAGE_TIERED_RESPONSE_STORE_H_

#include <memory>

#include "storage/response_store.h"

namespace kd {

// Looks in `fast` first, then in `slow`, whose hits are copied to `fast`; inserts into both. A failure of `fast` to
// keep a record is no error. stats() are those of `slow`. Both outlive the result.
std::unique_ptr<ResponseStore> NewTieredResponseStore(ResponseStore& fast, ResponseStore& slow);

}  // namespace kd

#endif  // KD_STORAGE_TIERED_RESPONSE_STORE_H_
