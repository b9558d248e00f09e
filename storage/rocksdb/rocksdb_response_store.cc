#include "storage/rocksdb/rocksdb_response_store.h"

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <list>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "core/record.h"

namespace kd {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

std::string BigEndian(uint64_t value) {
  std::string bytes(sizeof(value), '\0');
  for (int i = sizeof(value) - 1; i >= 0; --i, value >>= 8) bytes[i] = static_cast<char>(value & 0xff);
  return bytes;
}

uint64_t FromBigEndian(const rocksdb::Slice& bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string AgeValue(uint64_t size, absl::string_view key) {
  return absl::StrCat(absl::string_view(reinterpret_cast<const char*>(&size), sizeof(size)), key);
}

rocksdb::Slice ToSlice(absl::string_view text) { return {text.data(), text.size()}; }

// What is on disk, by last use. Not thread-safe.
class UseOrder {
 public:
  struct Entry {
    std::string key;
    uint64_t age, size;
  };

  // The most recent one from now on; there is no entry of its key yet.
  void Add(Entry entry) {
    bytes_ += entry.size;
    entries_.push_front(std::move(entry));
    index_[entries_.front().key] = entries_.begin();
  }
  void Touch(absl::string_view key) {
    if (const auto found = index_.find(key); found != index_.end()) {
      entries_.splice(entries_.begin(), entries_, found->second);
    }
  }
  // The entry of `key`, taken out.
  std::optional<Entry> Take(absl::string_view key) {
    const auto found = index_.find(key);
    if (found == index_.end()) return std::nullopt;
    const auto position = found->second;
    index_.erase(found);
    Entry entry = std::move(*position);
    entries_.erase(position);
    bytes_ -= entry.size;
    return entry;
  }
  std::optional<Entry> TakeLeastRecent() {
    if (entries_.empty()) return std::nullopt;
    return Take(std::string(entries_.back().key));
  }

  uint64_t bytes() const { return bytes_; }
  uint64_t size() const { return index_.size(); }

 private:
  // Most recently used first; every entry is in the index, whose keys live in the entries.
  std::list<Entry> entries_;
  absl::flat_hash_map<absl::string_view, std::list<Entry>::iterator> index_;
  uint64_t bytes_ = 0;
};

class RocksDbResponseStore : public ResponseStore {
 public:
  RocksDbResponseStore(std::unique_ptr<rocksdb::DB> db, std::vector<rocksdb::ColumnFamilyHandle*> families,
                       std::string folder, uint64_t capacity_bytes, const rocksdb::Status& writable)
      : db_(std::move(db)), families_(std::move(families)), folder_(std::move(folder)) {
    absl::MutexLock lock(&mutex_);
    counts_.capacity_bytes = capacity_bytes;
    const std::unique_ptr<rocksdb::Iterator> ages(db_->NewIterator({}, families_[kAge]));
    for (ages->SeekToFirst(); ages->Valid(); ages->Next()) {
      uint64_t size;
      if (ages->key().size() != sizeof(uint64_t) || ages->value().size() < sizeof(size)) continue;
      std::memcpy(&size, ages->value().data(), sizeof(size));
      const uint64_t age = FromBigEndian(ages->key());
      order_.Take(absl::string_view(ages->value().data(), ages->value().size()).substr(sizeof(size)));
      order_.Add({.key = ages->value().ToString().substr(sizeof(size)), .age = age, .size = size});
      next_age_ = age + 1;
    }
    if (!writable.ok()) StopWriting(writable).IgnoreError();
  }
  ~RocksDbResponseStore() override {
    // Without this the next start would read the log again. A disk that is full stays as it is.
    if (!stats().read_only) db_->Flush({}, families_).PermitUncheckedError();
    for (rocksdb::ColumnFamilyHandle* family : families_) db_->DestroyColumnFamilyHandle(family);
    db_->Close();
  }

  absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) override {
    auto record = std::make_shared<std::string>();
    const rocksdb::Status status = db_->Get({}, families_[kRecords], ToSlice(key), record.get());
    const bool sound = status.ok() && ParseRecord(*record).ok();
    {
      absl::MutexLock lock(&mutex_);
      if (sound) {
        ++counts_.hits_total;
        order_.Touch(key);
        return record;
      }
      ++counts_.misses_total;
      if (status.IsNotFound()) return absl::NotFoundError("not on disk");
      ++counts_.corrupt_total;
    }
    LogWarning("dropped a damaged record from the response cache \"", folder_,
               "\": ", status.ok() ? "its checksum is wrong" : status.ToString(), "; it will be computed again");
    Drop(key);
    return absl::NotFoundError("the record on disk was damaged");
  }

  absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) override {
    absl::MutexLock writing(&write_mutex_);
    rocksdb::WriteBatch batch;
    UseOrder::Entry entry{.key = std::string(key), .size = record->size()};
    {
      absl::MutexLock lock(&mutex_);
      if (counts_.read_only) return absl::OkStatus();
      if (record->size() > counts_.capacity_bytes) {
        return absl::ResourceExhaustedError(absl::StrCat("a record of ", record->size(),
                                                         " bytes is larger than the disk tier (",
                                                         counts_.capacity_bytes, " bytes)"));
      }
      if (const auto old = order_.Take(key)) Delete(*old, batch);
      while (order_.bytes() + entry.size > counts_.capacity_bytes) Delete(*order_.TakeLeastRecent(), batch);
      entry.age = next_age_++;
    }
    batch.Put(families_[kRecords], ToSlice(key), *record);
    batch.Put(families_[kAge], BigEndian(entry.age), AgeValue(entry.size, key));
    const rocksdb::Status status = db_->Write({}, &batch);
    absl::MutexLock lock(&mutex_);
    if (!status.ok()) return StopWriting(status);
    order_.Add(std::move(entry));
    return absl::OkStatus();
  }

  ResponseStoreStats stats() const override {
    absl::MutexLock lock(&mutex_);
    ResponseStoreStats stats = counts_;
    stats.records = order_.size();
    stats.bytes = order_.bytes();
    return stats;
  }

 private:
  enum Family { kRecords, kAge };

  void Delete(const UseOrder::Entry& entry, rocksdb::WriteBatch& batch) const {
    batch.Delete(families_[kRecords], entry.key);
    batch.Delete(families_[kAge], BigEndian(entry.age));
  }

  void Drop(absl::string_view key) {
    absl::MutexLock writing(&write_mutex_);
    rocksdb::WriteBatch batch;
    {
      absl::MutexLock lock(&mutex_);
      if (counts_.read_only) return;
      const auto entry = order_.Take(key);
      if (!entry.has_value()) return;
      Delete(*entry, batch);
    }
    const rocksdb::Status status = db_->Write({}, &batch);
    absl::MutexLock lock(&mutex_);
    if (!status.ok()) StopWriting(status).IgnoreError();
  }

  absl::Status StopWriting(const rocksdb::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    counts_.read_only = true;
    LogError("the response cache \"", folder_, "\" is read-only from now on: ", status.ToString(),
             "; answers go on without it: free space on its disk and restart the teacher");
    return absl::ResourceExhaustedError(absl::StrCat(
        "the response cache \"", folder_, "\" cannot be written: ", status.ToString(), "; free space on its disk"));
  }

  const std::unique_ptr<rocksdb::DB> db_;
  const std::vector<rocksdb::ColumnFamilyHandle*> families_;
  const std::string folder_;
  // One writer at a time, so that the order below and the database change alike; lookups never wait for it. Taken
  // before mutex_.
  absl::Mutex write_mutex_;
  mutable absl::Mutex mutex_;
  // All but records and bytes, which are the order's.
  ResponseStoreStats counts_ ABSL_GUARDED_BY(mutex_);
  UseOrder order_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_age_ ABSL_GUARDED_BY(mutex_) = 0;
};

// RocksDB's own log would lie in the store's folder, and Debian's build aborts when it appends to a log file whose last
// write failed: a full disk would end the process. What matters comes back as a status.
class NoLog : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char*, va_list) override {}
};

bool IsDiskFull(const rocksdb::Status& status) {
  return status.IsNoSpace() || absl::StrContains(status.ToString(), "No space left");
}

absl::Status OpenError(const std::string& folder, const rocksdb::Status& status) {
  const std::string text = status.ToString();
  const std::string where = absl::StrCat("the response cache \"", folder, "\"");
  if (absl::StrContains(text, "Permission denied") || absl::StrContains(text, "Read-only file system")) {
    return absl::PermissionDeniedError(absl::StrCat(where, " cannot be written: ", text, "; choose another folder"));
  }
  if (IsDiskFull(status)) {
    return absl::ResourceExhaustedError(absl::StrCat(where, " is on a full disk: ", text, "; free space there"));
  }
  if (status.IsIOError() && absl::StrContains(text, "lock ")) {
    return absl::FailedPreconditionError(
        absl::StrCat(where, " is in use by another process; stop it or choose another folder"));
  }
  if (status.IsIOError() && !absl::StrContains(text, "No such file")) {
    return absl::UnavailableError(absl::StrCat(where, " cannot be read: ", text, "; check its disk"));
  }
  return absl::DataLossError(
      absl::StrCat(where, " is damaged: ", text, "; it is only a cache: delete the folder and start again"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ResponseStore>> OpenRocksDbResponseStore(const std::string& folder,
                                                                        uint64_t capacity_bytes) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  rocksdb::Options options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.enable_blob_files = true;
  options.min_blob_size = 1024;
  // Evicted records give their space back once half of what a group of old blob files holds is gone.
  options.enable_blob_garbage_collection = true;
  options.blob_garbage_collection_age_cutoff = 1.0;
  options.blob_garbage_collection_force_threshold = 0.5;
  options.write_buffer_size = std::clamp(capacity_bytes / 16, kMiB, 64 * kMiB);
  options.blob_file_size = options.write_buffer_size;
  options.info_log = std::make_shared<NoLog>();
  options.max_open_files = 256;
  const rocksdb::ColumnFamilyOptions family_options(options);
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  const std::vector<rocksdb::ColumnFamilyDescriptor> names = {{rocksdb::kDefaultColumnFamilyName, family_options},
                                                              {"age", family_options}};
  const rocksdb::Status status = rocksdb::DB::Open(rocksdb::DBOptions(options), folder, names, &families, &db);
  const bool opened =
      status.ok() || (IsDiskFull(status) &&
                      rocksdb::DB::OpenForReadOnly(rocksdb::DBOptions(options), folder, names, &families, &db).ok());
  if (!opened) return OpenError(folder, status);
  return std::make_unique<RocksDbResponseStore>(std::unique_ptr<rocksdb::DB>(db), std::move(families), folder,
                                                capacity_bytes, status);
}

}  // namespace kd
