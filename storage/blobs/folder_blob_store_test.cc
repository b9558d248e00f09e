#include "storage/blobs/folder_blob_store.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "base/digest.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// FIPS 180-2, appendices B.1 and C.1.
constexpr char kAbcSha256[] = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr char kAbcSha512[] =
    "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";

class FolderBlobStoreTest : public ::testing::Test {
 protected:
  FolderBlobStoreTest() { Reopen(); }

  // What a restart does.
  void Reopen(int max_uploads = 1024) {
    store_.reset();
    auto store = FolderBlobStore::Open({.folder = folder_.path(), .max_uploads = max_uploads}, clock_);
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  std::string Start() {
    const auto name = store_->StartUpload();
    EXPECT_THAT(name, IsOk());
    return name.ok() ? *name : "";
  }

  // A chunk that was acknowledged.
  void AppendAndKeep(const std::string& name, const std::string& bytes) {
    const auto upload = store_->OpenUpload(name);
    ASSERT_THAT(upload, IsOk());
    ASSERT_THAT((*upload)->Append(bytes), IsOk());
    ASSERT_THAT((*upload)->Keep(), IsOk());
  }

  const TemporaryFolder folder_;
  FakeClock clock_{absl::Now()};
  std::unique_ptr<FolderBlobStore> store_;
};

TEST_F(FolderBlobStoreTest, KeepsABlobUnderItsDigest) {
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  EXPECT_THAT(store_->Read(kAbcSha256, 3), IsOkAndHolds("abc"));
  const auto blob = store_->Find(kAbcSha256);
  ASSERT_THAT(blob, IsOk());
  EXPECT_EQ(blob->size, 3u);
  EXPECT_EQ(blob->path, folder_ / "blobs/sha256/ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(FolderBlobStoreTest, KeepsABlobUnderItsSha512Digest) {
  ASSERT_THAT(store_->Put(kAbcSha512, "abc"), IsOk());
  EXPECT_THAT(store_->Read(kAbcSha512, 3), IsOkAndHolds("abc"));
  EXPECT_THAT(store_->Find(kAbcSha256), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FolderBlobStoreTest, NamesABlobThatIsMissing) {
  EXPECT_THAT(store_->Read(kAbcSha256, 3), StatusIs(absl::StatusCode::kNotFound, HasSubstr(kAbcSha256)));
}

TEST_F(FolderBlobStoreTest, RefusesBytesOfAnotherDigestAndEndsTheirUpload) {
  EXPECT_THAT(store_->Put(kAbcSha256, "abd"), StatusIs(absl::StatusCode::kInvalidArgument,
                                                       AllOf(HasSubstr(kAbcSha256), HasSubstr(Sha256Digest("abd")))));
  EXPECT_THAT(store_->Find(kAbcSha256), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "uploads"));
}

TEST_F(FolderBlobStoreTest, AStoredBlobCanBeStoredAgain) {
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  EXPECT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  EXPECT_THAT(store_->Read(kAbcSha256, 3), IsOkAndHolds("abc"));
}

TEST_F(FolderBlobStoreTest, ADamagedBlobIsNotHandedOutAndCanBeStoredAnew) {
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  std::ofstream(store_->Find(kAbcSha256)->path) << "abX";
  EXPECT_THAT(store_->Read(kAbcSha256, 3), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(kAbcSha256)));
  EXPECT_THAT(store_->Find(kAbcSha256), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  EXPECT_THAT(store_->Read(kAbcSha256, 3), IsOkAndHolds("abc"));
}

TEST_F(FolderBlobStoreTest, AGoodBlobIsNotMovedAside) {
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  store_->MoveAside(kAbcSha256);
  EXPECT_THAT(store_->Read(kAbcSha256, 3), IsOkAndHolds("abc"));
}

TEST_F(FolderBlobStoreTest, DoesNotReadBlobsOverTheLimit) {
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  EXPECT_THAT(store_->Read(kAbcSha256, 2), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(FolderBlobStoreTest, AnUploadContinuesAfterARestart) {
  const std::string name = Start();
  AppendAndKeep(name, "a");
  Reopen();
  const auto upload = store_->OpenUpload(name);
  ASSERT_THAT(upload, IsOk());
  EXPECT_EQ((*upload)->size(), 1u);
  ASSERT_THAT((*upload)->Append("bc"), IsOk());
  ASSERT_THAT((*upload)->Commit(kAbcSha256), IsOk());
  EXPECT_THAT(store_->Read(kAbcSha256, 3), IsOkAndHolds("abc"));
}

TEST_F(FolderBlobStoreTest, BytesThatWereNotKeptAreTakenBack) {
  const std::string name = Start();
  AppendAndKeep(name, "ab");
  {
    const auto upload = store_->OpenUpload(name);
    ASSERT_THAT(upload, IsOk());
    ASSERT_THAT((*upload)->Append("garbage of a broken connection"), IsOk());
  }
  AppendAndKeep(name, "c");
  const auto upload = store_->OpenUpload(name);
  ASSERT_THAT(upload, IsOk());
  EXPECT_THAT((*upload)->Commit(kAbcSha256), IsOk());
}

TEST_F(FolderBlobStoreTest, AnUploadHasOneWriterAtATime) {
  const std::string name = Start();
  auto upload = store_->OpenUpload(name);
  ASSERT_THAT(upload, IsOk());
  EXPECT_THAT(store_->OpenUpload(name), StatusIs(absl::StatusCode::kAborted, HasSubstr(name)));
  upload->reset();
  EXPECT_THAT(store_->OpenUpload(name), IsOk());
}

TEST_F(FolderBlobStoreTest, ADiscardedUploadIsGone) {
  const std::string name = Start();
  {
    const auto upload = store_->OpenUpload(name);
    ASSERT_THAT(upload, IsOk());
    ASSERT_THAT((*upload)->Discard(), IsOk());
  }
  EXPECT_THAT(store_->OpenUpload(name), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FolderBlobStoreTest, UploadNamesNeverBecomePaths) {
  for (const char* name : {"", "..", "../uploads", "../../etc/passwd", "0123456789abcdef0123456789abcdeg"}) {
    EXPECT_THAT(store_->OpenUpload(name), StatusIs(absl::StatusCode::kNotFound)) << name;
  }
}

TEST_F(FolderBlobStoreTest, AbandonedUploadsAreDroppedWhenTheNextBegins) {
  const std::string abandoned = Start();
  clock_.Advance(absl::Hours(25));
  Start();
  EXPECT_THAT(store_->OpenUpload(abandoned), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(FolderBlobStoreTest, TooManyOpenUploadsAreRefused) {
  Reopen(/*max_uploads=*/1);
  Start();
  EXPECT_THAT(store_->StartUpload(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("finish or cancel")));
}

TEST_F(FolderBlobStoreTest, AFullDiskIsResourceExhaustedAndLosesNothing) {
  ASSERT_THAT(store_->Put(kAbcSha256, "abc"), IsOk());
  const std::string name = Start();
  // Every write to this device fails as on a full disk.
  const std::string path = folder_ / ("uploads/" + name);
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/dev/full", path);
  const auto upload = store_->OpenUpload(name);
  ASSERT_THAT(upload, IsOk());
  EXPECT_THAT((*upload)->Append("x"),
              StatusIs(absl::StatusCode::kResourceExhausted, AllOf(HasSubstr(path), HasSubstr("free space"))));
  EXPECT_THAT(store_->Read(kAbcSha256, 3), IsOkAndHolds("abc"));
}

}  // namespace
}  // namespace kd
