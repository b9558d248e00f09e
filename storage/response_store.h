// Where encoded teacher responses are kept. Values are immutable: the same key always has the same meaning.
#ifndef KD_STORAGE_RESPONSE_STORE_H_
#define KD_STORAGE_RESPONSE_STORE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct ResponseStoreStats {
  uint64_t records = 0;
  uint64_t bytes = 0;
  uint64_t capacity_bytes = 0;
  uint64_t hits_total = 0;
  uint64_t misses_total = 0;
  uint64_t corrupt_total = 0;
  bool read_only = false;
};

// Thread-safe.
class ResponseStore {
 public:
  virtual ~ResponseStore() = default;

  // The record's bytes, shared, never copied on a hit.
  // NOT_FOUND: never stored or evicted; also after a record failed its checksum, which is then dropped and counted.
  virtual absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) = 0;

  // Stores a record (core/record.h), evicting to fit. RESOURCE_EXHAUSTED: the disk is full or the record is larger than
  // the store; reads go on. A store that became read-only returns OK and keeps nothing (see stats().read_only).
  virtual absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) = 0;

  virtual ResponseStoreStats stats() const = 0;
};

}  // namespace kd

#endif  // KD_STORAGE_RESPONSE_STORE_H_
