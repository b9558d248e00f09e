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
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/record.h"
#include "gtest/gtest.h"
#include "storage/memory/memory_response_store.h"
#include "storage/rocksdb/rocksdb_response_store.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

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

TEST_P(ResponseStoreTest, TheOldestGoWhenItIsFull) {
  ResponseStore& store = Open(50'000);
  for (int i = 0; i < 20; ++i) ASSERT_THAT(store.Insert(absl::StrCat("key", i), Record(1000)), IsOk());
  EXPECT_THAT(store.Lookup("key0"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store.Lookup("key19"), IsOk());
  EXPECT_LE(store.stats().bytes, 50'000u);
  EXPECT_GE(store.stats().records, 10u);
}

TEST_P(ResponseStoreTest, ARecordLargerThanTheStoreIsRefused) {
  ResponseStore& store = Open(1000);
  EXPECT_THAT(store.Insert("k", Record(1000)), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_THAT(store.Lookup("k"), StatusIs(absl::StatusCode::kNotFound));
}

INSTANTIATE_TEST_SUITE_P(All, ResponseStoreTest, ::testing::Values("memory", "rocksdb", "tiered"), [](const auto& info) { return info.param; });

TEST(RocksDbResponseStoreTest, RecordsSurviveARestart) {
  TemporaryFolder folder;
  { ASSERT_THAT((*OpenRocksDbResponseStore(folder.path(), 1 << 20))->Insert("k", Record(100)), IsOk()); }
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  EXPECT_THAT(store->Lookup("k"), IsOk());
  EXPECT_EQ(store->stats().records, 1u);
}

TEST(RocksDbResponseStoreTest, ADamagedRecordIsDroppedAndCounted) {
  TemporaryFolder folder;
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  std::string damaged = *Record(100);
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_THAT(store->Insert("k", std::make_shared<std::string>(damaged)), IsOk());
  EXPECT_THAT(store->Lookup("k"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(store->stats().corrupt_total, 1u);
  ASSERT_THAT(store->Insert("k", Record(100)), IsOk());
  EXPECT_THAT(store->Lookup("k"), IsOk());
}

TEST(RocksDbResponseStoreTest, ASecondOwnerIsRefused) {
  TemporaryFolder folder;
  const auto store = *OpenRocksDbResponseStore(folder.path(), 1 << 20);
  EXPECT_THAT(OpenRocksDbResponseStore(folder.path(), 1 << 20),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("in use by another process")));
}

TEST(RocksDbResponseStoreTest, AFolderThatIsNoDatabaseIsDataLossWithARemedy) {
  TemporaryFolder folder;
  { ASSERT_THAT(OpenRocksDbResponseStore(folder.path(), 1 << 20), IsOk()); }
  std::ofstream(folder / "CURRENT") << "nonsense";
  EXPECT_THAT(OpenRocksDbResponseStore(folder.path(), 1 << 20), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("delete the folder")));
}

// A limit on the size of files stands in for a full disk: the kernel refuses the write in the same way.
TEST(RocksDbResponseStoreTest, AFullDiskMakesItReadOnlyAndReadsGoOn) {
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

}  // namespace
}  // namespace kd
