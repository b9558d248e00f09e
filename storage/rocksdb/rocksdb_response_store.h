// The local disk tier: RocksDB with blob files, so that compaction leaves the values alone.
//
// Stored format (column families of one database):
//   default  key (32 bytes) -> uint64 big-endian age, record
//   age      uint64 big-endian age -> uint64 little-endian record size, key
// Ages count up with every insert; eviction takes the lowest.
#ifndef KD_STORAGE_ROCKSDB_ROCKSDB_RESPONSE_STORE_H_
#define KD_STORAGE_ROCKSDB_ROCKSDB_RESPONSE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "storage/response_store.h"

namespace kd {

// Opens or creates the store in `folder`; the oldest records go when it outgrows `capacity_bytes`. Inserts are not synced
// one by one: what a power loss takes is computed again.
// FAILED_PRECONDITION: another process has it open. DATA_LOSS: the folder is damaged; it is only a cache and may be deleted.
absl::StatusOr<std::unique_ptr<ResponseStore>> OpenRocksDbResponseStore(const std::string& folder, uint64_t capacity_bytes);

}  // namespace kd

#endif  // KD_STORAGE_ROCKSDB_ROCKSDB_RESPONSE_STORE_H_
