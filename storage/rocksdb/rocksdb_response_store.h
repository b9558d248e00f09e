// The local disk tier: RocksDB with blob files, so that compaction leaves the values alone.
//
// Stored format (column families of one database):
//   default  key (32 bytes) -> record
//   age      uint64 big-endian age -> uint64 little-endian record size, key
// Ages count up with every insert. Every record has one age entry, written and deleted with it; opening the store reads
// the age entries alone, so it costs nothing per byte of record.
#ifndef KD_STORAGE_ROCKSDB_ROCKSDB_RESPONSE_STORE_H_
#define KD_STORAGE_ROCKSDB_ROCKSDB_RESPONSE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "storage/response_store.h"

namespace kd {

// Opens or creates the store in `folder`. When the records outgrow `capacity_bytes`, the least recently used go; uses
// are remembered since the start, before that the order of insertion counts. The files may outgrow the budget for a
// while: space is given back by compaction in the background. Inserts are not synced one by one: they survive the end
// of the process, and what a power loss takes is computed again. On a full disk a store that is there opens read-only
// (stats().read_only) and its records are served. FAILED_PRECONDITION: another process has it open. DATA_LOSS: the
// folder is damaged; it is only a cache and may be deleted. RESOURCE_EXHAUSTED: the disk is full and there is no store
// yet. PERMISSION_DENIED, UNAVAILABLE: the folder cannot be used.
absl::StatusOr<std::unique_ptr<ResponseStore>> OpenRocksDbResponseStore(const std::string& folder,
                                                                        uint64_t capacity_bytes);

}  // namespace kd

#endif  // KD_STORAGE_ROCKSDB_ROCKSDB_RESPONSE_STORE_H_
