#include "storage/memory/memory_response_store.h"

#include <list>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "core/record.h"
#include "storage/memory/frequency_sketch.h"

namespace kd {
namespace {

// Enough to tell some ten thousand records apart; 256 KiB.
constexpr size_t kSketchCounters = 1 << 16;
constexpr uint64_t kSketchSample = 10 * kSketchCounters;
// Records that are used once per epoch each never differ by more than one use.
constexpr int kClearly = 2;
// A record that was not used during this many lookups belongs to a job that has ended, however often it was used then.
constexpr uint64_t kForgottenAfter = kSketchSample;

class MemoryResponseStore : public ResponseStore {
 public:
  explicit MemoryResponseStore(uint64_t capacity_bytes) : frequency_(kSketchCounters, kSketchSample) {
    stats_.capacity_bytes = capacity_bytes;
  }

  absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) override {
    std::shared_ptr<const std::string> record;
    {
      absl::MutexLock lock(&mutex_);
      frequency_.Add(key);
      ++lookups_;
      const auto found = index_.find(key);
      if (found == index_.end()) {
        ++stats_.misses_total;
        return absl::NotFoundError("not in memory");
      }
      entries_.splice(entries_.begin(), entries_, found->second);
      found->second->last_use = lookups_;
      record = found->second->record;
    }
    const bool sound = ParseRecord(*record).ok();
    absl::MutexLock lock(&mutex_);
    if (sound) {
      ++stats_.hits_total;
      return record;
    }
    ++stats_.misses_total;
    ++stats_.corrupt_total;
    const auto found = index_.find(key);
    if (found != index_.end() && found->second->record == record) Remove(found->second);
    return absl::NotFoundError("the record in memory was damaged");
  }

  absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) override {
    absl::MutexLock lock(&mutex_);
    if (record->size() > stats_.capacity_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "a record of ", record->size(), " bytes is larger than the memory tier (", stats_.capacity_bytes, " bytes)"));
    }
    if (const auto found = index_.find(key); found != index_.end()) {
      Remove(found->second);
    } else if (!Deserves(key, record->size())) {
      return absl::OkStatus();
    }
    while (stats_.bytes + record->size() > stats_.capacity_bytes) Remove(std::prev(entries_.end()));
    stats_.bytes += record->size();
    ++stats_.records;
    entries_.push_front({std::string(key), std::move(record), lookups_});
    index_[entries_.front().key] = entries_.begin();
    return absl::OkStatus();
  }

  ResponseStoreStats stats() const override {
    absl::MutexLock lock(&mutex_);
    return stats_;
  }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const std::string> record;
    // Value of lookups_.
    uint64_t last_use;
  };

  // True when there is room for `size` bytes, or when everything that would have to go is forgotten or was wanted less
  // often than `key`.
  bool Deserves(absl::string_view key, uint64_t size) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    uint64_t bytes = stats_.bytes + size;
    if (bytes <= stats_.capacity_bytes) return true;
    const int wanted = frequency_.Estimate(key);
    for (auto victim = entries_.rbegin(); victim != entries_.rend() && bytes > stats_.capacity_bytes; ++victim) {
      const bool forgotten = lookups_ - victim->last_use > kForgottenAfter;
      if (!forgotten && wanted < frequency_.Estimate(victim->key) + kClearly) return false;
      bytes -= victim->record->size();
    }
    return true;
  }

  void Remove(std::list<Entry>::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    stats_.bytes -= entry->record->size();
    --stats_.records;
    index_.erase(entry->key);
    entries_.erase(entry);
  }

  mutable absl::Mutex mutex_;
  // Most recently used first; every entry is in the index.
  std::list<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::list<Entry>::iterator> index_ ABSL_GUARDED_BY(mutex_);
  FrequencySketch frequency_ ABSL_GUARDED_BY(mutex_);
  uint64_t lookups_ ABSL_GUARDED_BY(mutex_) = 0;
  ResponseStoreStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

std::unique_ptr<ResponseStore> NewMemoryResponseStore(uint64_t capacity_bytes) {
  return std::make_unique<MemoryResponseStore>(capacity_bytes);
}

}  // namespace kd
