#include "storage/memory/memory_response_store.h"

#include <list>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace kd {
namespace {

class MemoryResponseStore : public ResponseStore {
 public:
  explicit MemoryResponseStore(uint64_t capacity_bytes) { stats_.capacity_bytes = capacity_bytes; }

  absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) override {
    absl::MutexLock lock(&mutex_);
    const auto found = index_.find(std::string(key));
    if (found == index_.end()) {
      ++stats_.misses_total;
      return absl::NotFoundError("not in memory");
    }
    ++stats_.hits_total;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->record;
  }

  absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) override {
    absl::MutexLock lock(&mutex_);
    if (record->size() > stats_.capacity_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("a record of ", record->size(), " bytes is larger than the memory tier (",
                                                       stats_.capacity_bytes, " bytes)"));
    }
    if (const auto found = index_.find(std::string(key)); found != index_.end()) Remove(found->second);
    stats_.bytes += record->size();
    entries_.push_front({std::string(key), std::move(record)});
    index_[entries_.front().key] = entries_.begin();
    while (stats_.bytes > stats_.capacity_bytes) Remove(std::prev(entries_.end()));
    return absl::OkStatus();
  }

  ResponseStoreStats stats() const override {
    absl::MutexLock lock(&mutex_);
    ResponseStoreStats stats = stats_;
    stats.records = index_.size();
    return stats;
  }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const std::string> record;
  };

  void Remove(std::list<Entry>::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    stats_.bytes -= entry->record->size();
    index_.erase(entry->key);
    entries_.erase(entry);
  }

  mutable absl::Mutex mutex_;
  // Most recently used first; every entry is in the index.
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> index_ ABSL_GUARDED_BY(mutex_);
  ResponseStoreStats stats_ ABSL_GUARDED_BY(mutex_);
};

class TieredResponseStore : public ResponseStore {
 public:
  TieredResponseStore(ResponseStore& fast, ResponseStore& slow) : fast_(fast), slow_(slow) {}

  absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) override {
    if (auto record = fast_.Lookup(key); record.ok()) return record;
    auto record = slow_.Lookup(key);
    if (record.ok()) fast_.Insert(key, *record).IgnoreError();
    return record;
  }
  absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) override {
    fast_.Insert(key, record).IgnoreError();
    return slow_.Insert(key, std::move(record));
  }
  ResponseStoreStats stats() const override { return slow_.stats(); }

 private:
  ResponseStore& fast_;
  ResponseStore& slow_;
};

}  // namespace

std::unique_ptr<ResponseStore> NewMemoryResponseStore(uint64_t capacity_bytes) {
  return std::make_unique<MemoryResponseStore>(capacity_bytes);
}

std::unique_ptr<ResponseStore> NewTieredResponseStore(ResponseStore& fast, ResponseStore& slow) {
  return std::make_unique<TieredResponseStore>(fast, slow);
}

}  // namespace kd
