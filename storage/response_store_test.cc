// One suite for every response store, and what only one of them promises.
#include "storage/response_store.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/small_disk.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/record.h"
#include "gtest/gtest.h"
#include "storage/memory/memory_response_store.h"
#include "storage/rocksdb/rocksdb_response_store.h"
#include "storage/tiered_response_store.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string kNoOwnMounts = EnterOwnMounts();

std::shared_ptr<const std::string> Record(int values, float fill = 1) {
  v1::RecordHeader header;
  header.set_tensor("hm.0");
  header.set_dtype(v1::DATA_TYPE_FLOAT32);
  header.set_selection(v1::SELECTION_ALL);
  header.add_shape(static_cast<uint32_t>(values));
  return std::make_shared<std::string>(*EncodeRecord(header, {}, std::vector<float>(values, fill)));
}

struct Stores {
  TemporaryFolder folder;
  std::unique_ptr<ResponseStore> fast, slow, store;
};

class ResponseStoreTest : public ::testing::TestWithParam<std::string> {
 protected:
  ResponseStore& Open(uint64_t capacity) {
    if (GetParam() == "memory") {
      stores_.store = NewMemoryResponseStore(capacity);
    } else if (GetParam() == "rocksdb") {
      stores_.store = *OpenRocksDbResponseStore(stores_.folder / "db", capacity);
    } else {
      stores_.fast = NewMemoryResponseStore(capacity);
      stores_.slow = *OpenRocksDbResponseStore(stores_.folder / "db", capacity);
      stores_.store = NewTieredResponseStore(*stores_.fast, *stores_.slow);
    }
    return *stores_.store;
  }
  Stores stores_;
};

TEST_P(ResponseStoreTest, WhatWasInsertedIsFound) {
  ResponseStore& store = Open(1 << 20);
  EXPECT_THAT(store.Lookup("k"), StatusIs(absl::StatusCode::kNotFound));
  const auto record = Record(2000);
  ASSERT_THAT(store.Insert("k", record), IsOk());
  const auto found = store.Lookup("k");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(**found, *record);
}

TEST_P(ResponseStoreTest, AnotherInsertReplaces) {
  ResponseStore& store = Open(1 << 20);
  ASSERT_THAT(store.Insert("k", Record(10, 1)), IsOk());
  ASSERT_THAT(store.Insert("k", Record(20, 2)), IsOk());
  EXPECT_EQ(**store.Lookup("k"), *Record(20, 2));
}

TEST_P(ResponseStoreTest, KeepsWithinItsBudget) {
  ResponseStore& store = Open(50'000);
  for (int i = 0; i < 20; ++i) ASSERT_THAT(store.Insert(absl::StrCat("key", i), Record(1000)), IsOk());
  int found = 0;
  for (int i = 0; i < 20; ++i) found += store.Lookup(absl::StrCat("key", i)).ok();
  const int fit = static_cast<int>(50'000 / Record(1000)->size());
  EXPECT_GE(found, fit);
  EXPECT_LE(store.stats().bytes, 50'000u);
  EXPECT_EQ(store.stats().records, static_cast<uint64_t>(fit));
}

TEST_P(ResponseStoreTest, CountsWhatItHoldsAndHowItWasUsed) {
  ResponseStore& store = Open(1 << 20);
  ASSERT_THAT(store.Insert("a", Record(100)), IsOk());
  ASSERT_THAT(store.Insert("b", Record(300)), IsOk());
  ASSERT_THAT(store.Insert("b", Record(200)), IsOk());
  EXPECT_EQ(store.stats().records, 2u);
  EXPECT_EQ(store.stats().bytes, Record(100)->size() + Record(200)->size());
  EXPECT_EQ(store.stats().capacity_bytes, uint64_t{1} << 20);
  // Of a tiered store, the slow tier is the one to ask.
  ResponseStore& asked = GetParam() == "tiered" ? *stores_.fast : store;
  for (const char* key : {"a", "a", "b", "c"}) store.Lookup(key).status().IgnoreError();
  EXPECT_EQ(asked.stats().hits_total, 3u);
  EXPECT_EQ(asked.stats().misses_total, 1u);
}

TEST_P(ResponseStoreTest, ADamagedRecordIsDroppedCountedAndReplaced) {
  ResponseStore& store = Open(1 << 20);
  std::string damaged = *Record(100);
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_THAT(store.Insert("k", std::make_shared<std::string>(damaged)), IsOk());
  EXPECT_THAT(store.Lookup("k"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store.stats().corrupt_total, 1u);
  EXPECT_EQ(store.stats().records, 0u);
  EXPECT_EQ(store.stats().bytes, 0u);
  ASSERT_THAT(store.Insert("k", Record(100)), IsOk());
  EXPECT_THAT(store.Lookup("k"), IsOk());
}

TEST_P(ResponseStoreTest, ARecordLargerThanTheStoreIsRefused) {
  ResponseStore& store = Open(1000);
  EXPECT_THAT(store.Insert("k", Record(1000)), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(store.Lookup("k"), StatusIs(absl::StatusCode::kNotFound));
}

INSTANTIATE_TEST_SUITE_P(All, ResponseStoreTest, ::testing::Values("memory", "rocksdb", "tiered"),
                         [](const auto& info) { return info.param; });

class MemoryResponseStoreTest : public ::testing::Test {
 protected:
  // What one epoch finds in memory; what it does not find is inserted, as a tiered store does.
  int Epoch(const std::string& job, int records) {
    int hits = 0;
    for (int i = 0; i < records; ++i) {
      const std::string key = absl::StrCat(job, i);
      if (store_->Lookup(key).ok()) {
        ++hits;
      } else {
        EXPECT_THAT(store_->Insert(key, record_), IsOk());
      }
    }
    return hits;
  }

  const std::shared_ptr<const std::string> record_ = Record(100);
  const std::unique_ptr<ResponseStore> store_ = NewMemoryResponseStore(10 * record_->size());
};

TEST_F(MemoryResponseStoreTest, EpochsOverMoreRecordsThanFitKeepFindingTheOnesThatDo) {
  Epoch("job", 30);
  for (int epoch = 0; epoch < 5; ++epoch) EXPECT_EQ(Epoch("job", 30), 10) << epoch;
}

TEST_F(MemoryResponseStoreTest, ARecordWantedClearlyMoreOftenTakesThePlaceOfOthers) {
  Epoch("job", 10);
  ASSERT_THAT(store_->Insert("hot", record_), IsOk());
  EXPECT_THAT(store_->Lookup("hot"), StatusIs(absl::StatusCode::kNotFound))
      << "never asked for, so nothing went for it";
  for (int i = 0; i < 3; ++i) store_->Lookup("hot").status().IgnoreError();
  ASSERT_THAT(store_->Insert("hot", record_), IsOk());
  EXPECT_THAT(store_->Lookup("hot"), IsOk());
  EXPECT_EQ(store_->stats().records, 10u);
}

TEST_F(MemoryResponseStoreTest, RecordsOfAJobThatHasEndedMakeRoomHoweverOftenTheyWereUsed) {
  for (int epoch = 0; epoch < 100; ++epoch) Epoch("old", 10);
  // Many records that are used seldom, so none of them is ever wanted more often.
  for (int i = 0; i < 1'000'000; ++i) store_->Lookup(absl::StrCat("new", i)).status().IgnoreError();
  Epoch("next", 10);
  EXPECT_EQ(Epoch("next", 10), 10);
}

TEST(TieredResponseStoreTest, AFindInTheSlowTierIsServedByTheFastOneFromThenOn) {
  TemporaryFolder folder;
  const auto fast = NewMemoryResponseStore(1 << 20);
  const auto slow = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  ASSERT_THAT(slow->Insert("k", Record(100)), IsOk());
  const auto store = NewTieredResponseStore(*fast, *slow);
  EXPECT_THAT(store->Lookup("k"), IsOk());
  EXPECT_THAT(store->Lookup("k"), IsOk());
  EXPECT_EQ(fast->stats().hits_total, 1u);
  EXPECT_EQ(slow->stats().hits_total, 1u);
}

TEST(TieredResponseStoreTest, ARecordDamagedInTheFastTierComesFromTheSlowOne) {
  TemporaryFolder folder;
  const auto fast = NewMemoryResponseStore(1 << 20);
  const auto slow = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  const auto store = NewTieredResponseStore(*fast, *slow);
  ASSERT_THAT(slow->Insert("k", Record(100)), IsOk());
  std::string damaged = *Record(100);
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_THAT(fast->Insert("k", std::make_shared<std::string>(damaged)), IsOk());
  const auto found = store->Lookup("k");
  ASSERT_THAT(found, IsOk());
  EXPECT_EQ(**found, *Record(100));
  EXPECT_EQ(fast->stats().corrupt_total, 1u);
  EXPECT_EQ(**fast->Lookup("k"), *Record(100));
}

TEST(TieredResponseStoreTest, ARecordThatTheFastTierCannotKeepIsNoError) {
  TemporaryFolder folder;
  const auto fast = NewMemoryResponseStore(10);
  const auto slow = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  const auto store = NewTieredResponseStore(*fast, *slow);
  ASSERT_THAT(store->Insert("k", Record(100)), IsOk());
  EXPECT_THAT(store->Lookup("k"), IsOk());
  EXPECT_EQ(store->stats().records, 1u);
}

TEST(RocksDbResponseStoreTest, TheLeastRecentlyUsedGoFirst) {
  TemporaryFolder folder;
  const auto record = Record(1000);
  const auto store = *OpenRocksDbResponseStore(folder.path(), 3 * record->size());
  for (const char* key : {"a", "b", "c"}) ASSERT_THAT(store->Insert(key, record), IsOk());
  EXPECT_THAT(store->Lookup("a"), IsOk());
  ASSERT_THAT(store->Insert("d", record), IsOk());
  EXPECT_THAT(store->Lookup("b"), StatusIs(absl::StatusCode::kNotFound));
  for (const char* key : {"a", "c", "d"}) EXPECT_THAT(store->Lookup(key), IsOk()) << key;
}

TEST(RocksDbResponseStoreTest, TheOrderOfInsertionCountsAfterARestart) {
  TemporaryFolder folder;
  const auto record = Record(1000);
  {
    const auto store = *OpenRocksDbResponseStore(folder.path(), 3 * record->size());
    for (const char* key : {"a", "b", "c", "a"}) ASSERT_THAT(store->Insert(key, record), IsOk());
  }
  const auto store = *OpenRocksDbResponseStore(folder.path(), 3 * record->size());
  EXPECT_EQ(store->stats().bytes, 3 * record->size());
  ASSERT_THAT(store->Insert("d", record), IsOk());
  EXPECT_THAT(store->Lookup("b"), StatusIs(absl::StatusCode::kNotFound));
  for (const char* key : {"a", "c", "d"}) EXPECT_THAT(store->Lookup(key), IsOk()) << key;
}

TEST(RocksDbResponseStoreTest, ASmallerBudgetAfterARestartIsMetByTheNextInsert) {
  TemporaryFolder folder;
  const auto record = Record(1000);
  {
    const auto store = *OpenRocksDbResponseStore(folder.path(), 10 * record->size());
    for (int i = 0; i < 10; ++i) ASSERT_THAT(store->Insert(absl::StrCat("key", i), record), IsOk());
  }
  const auto store = *OpenRocksDbResponseStore(folder.path(), 2 * record->size());
  ASSERT_THAT(store->Insert("new", record), IsOk());
  EXPECT_EQ(store->stats().records, 2u);
  EXPECT_THAT(store->Lookup("key9"), IsOk());
  EXPECT_THAT(store->Lookup("new"), IsOk());
}

TEST(RocksDbResponseStoreTest, RecordsSurviveARestart) {
  TemporaryFolder folder;
  {
    ASSERT_THAT((*OpenRocksDbResponseStore(folder.path(), 1 << 20))->Insert("k", Record(100)), IsOk());
  }
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  EXPECT_THAT(store->Lookup("k"), IsOk());
  EXPECT_EQ(store->stats().records, 1u);
}

TEST(RocksDbResponseStoreTest, ASecondOwnerIsRefused) {
  TemporaryFolder folder;
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  EXPECT_THAT(OpenRocksDbResponseStore(folder.path(), 1 << 20),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by another process")));
}

TEST(RocksDbResponseStoreTest, AFolderThatIsNoDatabaseIsDataLossWithARemedy) {
  TemporaryFolder folder;
  {
    ASSERT_THAT(OpenRocksDbResponseStore(folder.path(), 1 << 20), IsOk());
  }
  std::ofstream(folder / "CURRENT") << "nonsense";
  EXPECT_THAT(OpenRocksDbResponseStore(folder.path(), 1 << 20),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("delete the folder")));
}

// A limit on the size of files stands in for a full disk, for those who may not mount one.
TEST(RocksDbResponseStoreTest, AWriteThatFailsMakesItReadOnlyAndReadsGoOn) {
  TemporaryFolder folder;
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 30);
  ASSERT_THAT(store->Insert("before", Record(1000)), IsOk());
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  rlimit tight = old;
  tight.rlim_cur = 256 << 10;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  absl::Status status;
  for (int i = 0; i < 200 && status.ok(); ++i) status = store->Insert(absl::StrCat("key", i), Record(10'000));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_TRUE(store->stats().read_only);
  EXPECT_THAT(store->Insert("after", Record(10)), IsOk());
  EXPECT_THAT(store->Lookup("after"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store->Lookup("before"), IsOk());
}

// By the store's budget: a large one fills the disk with its log, a small one while it moves records into files.
class FullDiskTest : public ::testing::TestWithParam<uint64_t> {};

TEST_P(FullDiskTest, MakesTheStoreReadOnlyAndItsRecordsAreServedAcrossRestarts) {
  const SmallDisk disk(8 << 20);
  KD_REQUIRE_SMALL_DISK(disk, kNoOwnMounts);
  int kept = 0;
  {
    const auto store = *OpenRocksDbResponseStore(disk / "cache", GetParam());
    absl::Status status;
    while (status.ok() && kept < 10'000) {
      status = store->Insert(absl::StrCat("key", kept), Record(10'000));
      kept += status.ok();
    }
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kResourceExhausted,
                                 AllOf(HasSubstr(disk / "cache"), HasSubstr("No space left on device"),
                                       HasSubstr("free space on its disk"))));
    EXPECT_THAT(status.message(), IsOneLine());
    EXPECT_TRUE(store->stats().read_only);
    EXPECT_GT(kept, 20);
    for (int i = 0; i < kept; ++i) ASSERT_EQ(**store->Lookup(absl::StrCat("key", i)), *Record(10'000)) << i;
  }
  disk.Fill();
  {
    const auto store = OpenRocksDbResponseStore(disk / "cache", GetParam());
    ASSERT_THAT(store, IsOk());
    EXPECT_TRUE((*store)->stats().read_only);
    EXPECT_THAT((*store)->Insert("more", Record(10)), IsOk());
    for (int i = 0; i < kept; ++i) ASSERT_EQ(**(*store)->Lookup(absl::StrCat("key", i)), *Record(10'000)) << i;
    EXPECT_THAT(
        OpenRocksDbResponseStore(disk / "new", GetParam()),
        StatusIs(absl::StatusCode::kResourceExhausted, AllOf(HasSubstr(disk / "new"), HasSubstr("free space"))));
  }
  std::filesystem::remove(disk / "filling");
  std::filesystem::remove_all(disk / "new");
  const auto store = OpenRocksDbResponseStore(disk / "cache", GetParam());
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->stats().records, static_cast<uint64_t>(kept));
}

INSTANTIATE_TEST_SUITE_P(All, FullDiskTest, ::testing::Values(uint64_t{16} << 20, uint64_t{1} << 30));

// Bytes that rot on the disk, below the records' own checksums.
TEST(RocksDbResponseStoreTest, RecordsThatRotOnDiskAreDroppedAndCountedAndTheOthersServed) {
  const TemporaryFolder folder;
  constexpr int kRecords = 50;
  {
    const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 30);
    for (int i = 0; i < kRecords; ++i) ASSERT_THAT(store->Insert(absl::StrCat("key", i), Record(10'000, i)), IsOk());
  }
  int blobs = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().extension() != ".blob") continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    file << "rot";
    ++blobs;
  }
  ASSERT_GT(blobs, 0);
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 30);
  int found = 0;
  for (int i = 0; i < kRecords; ++i) {
    const auto record = store->Lookup(absl::StrCat("key", i));
    if (!record.ok()) {
      EXPECT_THAT(record, StatusIs(absl::StatusCode::kNotFound));
      continue;
    }
    ++found;
    EXPECT_EQ(**record, *Record(10'000, i));
  }
  EXPECT_EQ(store->stats().corrupt_total, static_cast<uint64_t>(kRecords - found));
  EXPECT_EQ(store->stats().records, static_cast<uint64_t>(found));
  EXPECT_GE(found, kRecords - 2 * blobs);
  EXPECT_LT(found, kRecords);
}

}  // namespace
}  // namespace kd
