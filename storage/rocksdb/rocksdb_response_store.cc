#include "storage/rocksdb/rocksdb_response_store.h"

#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/write_batch.h>

#include <cstring>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "core/record.h"

namespace kd {
namespace {

constexpr size_t kAgeBytes = sizeof(uint64_t);

std::string BigEndian(uint64_t value) {
  std::string bytes(kAgeBytes, '\0');
  for (int i = kAgeBytes - 1; i >= 0; --i, value >>= 8) bytes[i] = static_cast<char>(value & 0xff);
  return bytes;
}

uint64_t FromBigEndian(const rocksdb::Slice& bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < kAgeBytes; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

rocksdb::Slice ToSlice(absl::string_view text) { return {text.data(), text.size()}; }

class RocksDbResponseStore : public ResponseStore {
 public:
  RocksDbResponseStore(std::unique_ptr<rocksdb::DB> db, std::vector<rocksdb::ColumnFamilyHandle*> families, uint64_t capacity_bytes)
      : db_(std::move(db)), families_(std::move(families)) {
    absl::MutexLock lock(&mutex_);
    stats_.capacity_bytes = capacity_bytes;
    const std::unique_ptr<rocksdb::Iterator> ages(db_->NewIterator({}, age_family()));
    for (ages->SeekToFirst(); ages->Valid(); ages->Next()) {
      if (ages->key().size() != kAgeBytes || ages->value().size() < sizeof(uint64_t)) continue;
      uint64_t size;
      std::memcpy(&size, ages->value().data(), sizeof(size));
      stats_.bytes += size;
      ++stats_.records;
      next_age_ = FromBigEndian(ages->key()) + 1;
    }
  }
  ~RocksDbResponseStore() override {
    for (rocksdb::ColumnFamilyHandle* family : families_) db_->DestroyColumnFamilyHandle(family);
    db_->Close();
  }

  absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) override {
    std::string value;
    const rocksdb::Status status = db_->Get({}, families_[0], ToSlice(key), &value);
    absl::MutexLock lock(&mutex_);
    if (status.IsNotFound()) {
      ++stats_.misses_total;
      return absl::NotFoundError("not on disk");
    }
    bool sound = status.ok() && value.size() > kAgeBytes;
    auto record = std::make_shared<std::string>();
    if (sound) {
      record->assign(value, kAgeBytes, std::string::npos);
      sound = ParseRecord(*record).ok();
    }
    if (!sound) {
      ++stats_.corrupt_total;
      ++stats_.misses_total;
      LogWarning("dropped a damaged record from the response cache; it will be computed again");
      db_->Delete({}, families_[0], ToSlice(key));
      return absl::NotFoundError("the record on disk was damaged");
    }
    ++stats_.hits_total;
    return record;
  }

  absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) override {
    absl::MutexLock lock(&mutex_);
    if (stats_.read_only) return absl::OkStatus();
    if (record->size() > stats_.capacity_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("a record of ", record->size(), " bytes is larger than the disk tier (",
                                                       stats_.capacity_bytes, " bytes)"));
    }
    const uint64_t size = record->size();
    const std::string age = BigEndian(next_age_);
    rocksdb::WriteBatch batch;
    // An older copy keeps its age entry until eviction finds that the key has moved on.
    batch.Put(families_[0], ToSlice(key), absl::StrCat(age, *record));
    batch.Put(age_family(), age, absl::StrCat(absl::string_view(reinterpret_cast<const char*>(&size), sizeof(size)), key));
    if (const rocksdb::Status status = db_->Write({}, &batch); !status.ok()) return StopWriting(status);
    ++next_age_;
    stats_.bytes += size;
    ++stats_.records;
    return EvictToFit();
  }

  ResponseStoreStats stats() const override {
    absl::MutexLock lock(&mutex_);
    return stats_;
  }

 private:
  rocksdb::ColumnFamilyHandle* age_family() const { return families_[1]; }

  absl::Status StopWriting(const rocksdb::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    stats_.read_only = true;
    LogError("the response cache on disk is read-only from now on: ", status.ToString(), "; free space and restart the teacher");
    return absl::ResourceExhaustedError(absl::StrCat("the response cache cannot be written: ", status.ToString()));
  }

  absl::Status EvictToFit() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (stats_.bytes <= stats_.capacity_bytes) return absl::OkStatus();
    const std::unique_ptr<rocksdb::Iterator> ages(db_->NewIterator({}, age_family()));
    rocksdb::WriteBatch batch;
    for (ages->SeekToFirst(); ages->Valid() && stats_.bytes > stats_.capacity_bytes; ages->Next()) {
      uint64_t size;
      std::memcpy(&size, ages->value().data(), sizeof(size));
      const rocksdb::Slice key(ages->value().data() + sizeof(size), ages->value().size() - sizeof(size));
      std::string current;
      if (db_->Get({}, families_[0], key, &current).ok() && absl::StartsWith(current, absl::string_view(ages->key().data(), kAgeBytes))) {
        batch.Delete(families_[0], key);
      }
      batch.Delete(age_family(), ages->key());
      stats_.bytes -= size;
      --stats_.records;
    }
    const rocksdb::Status status = db_->Write({}, &batch);
    return status.ok() ? absl::OkStatus() : StopWriting(status);
  }

  const std::unique_ptr<rocksdb::DB> db_;
  // default, age
  const std::vector<rocksdb::ColumnFamilyHandle*> families_;
  mutable absl::Mutex mutex_;
  ResponseStoreStats stats_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_age_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ResponseStore>> OpenRocksDbResponseStore(const std::string& folder, uint64_t capacity_bytes) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  rocksdb::Options options;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.enable_blob_files = true;
  options.min_blob_size = 1024;
  options.enable_blob_garbage_collection = true;
  options.keep_log_file_num = 2;
  options.max_open_files = 256;
  const rocksdb::ColumnFamilyOptions family_options(options);
  std::vector<rocksdb::ColumnFamilyHandle*> families;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(
      rocksdb::DBOptions(options), folder,
      {{rocksdb::kDefaultColumnFamilyName, family_options}, {"age", family_options}}, &families, &db);
  if (!status.ok()) {
    const std::string text = status.ToString();
    if (absl::StrContains(text, "LOCK") || absl::StrContains(text, "lock ")) {
      return absl::FailedPreconditionError(absl::StrCat("the response cache \"", folder, "\" is in use by another process; stop it or choose another --cache-folder"));
    }
    return absl::DataLossError(absl::StrCat("the response cache \"", folder, "\" cannot be opened: ", text,
                                            "; it is only a cache: delete the folder and start again"));
  }
  return std::make_unique<RocksDbResponseStore>(std::unique_ptr<rocksdb::DB>(db), std::move(families), capacity_bytes);
}

}  // namespace kd
