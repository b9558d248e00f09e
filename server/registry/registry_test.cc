#include "server/registry/registry.h"

#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "storage/blobs/blob_digest.h"
#include "storage/registry/manifest.h"

namespace kd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kImage(kImageManifestType);
const std::string kIndex(kImageIndexType);

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() { Reopen(); }

  void Reopen() {
    registry_.reset();
    auto registry = Registry::Open(folder_.path(), clock_);
    ASSERT_THAT(registry, IsOk());
    registry_ = *std::move(registry);
  }

  // A manifest of one layer whose blobs are stored.
  std::string ManifestOf(const std::string& content) {
    EXPECT_THAT(registry_->blobs().Put(Sha256Digest("{}"), "{}"), IsOk());
    EXPECT_THAT(registry_->blobs().Put(Sha256Digest(content), content), IsOk());
    return Unstored(content, content.size());
  }
  static std::string Unstored(const std::string& content, uint64_t size) {
    return ImageManifestJson(
        {.config = {.media_type = std::string(kEmptyConfigType), .digest = Sha256Digest("{}"), .size = 2},
         .layers = {{.media_type = "text/plain", .digest = Sha256Digest(content), .size = size}}});
  }

  const TemporaryFolder folder_;
  FakeClock clock_{absl::Now()};
  std::unique_ptr<Registry> registry_;
};

TEST_F(RegistryTest, KeepsAManifestUnderTagAndDigestAcrossRestarts) {
  const std::string bytes = ManifestOf("weights");
  EXPECT_THAT(registry_->PutManifest("students/a", "v1", kImage, bytes), IsOkAndHolds(Sha256Digest(bytes)));
  Reopen();
  for (const std::string& reference : {std::string("v1"), Sha256Digest(bytes)}) {
    const auto manifest = registry_->GetManifest("students/a", reference);
    ASSERT_THAT(manifest, IsOk());
    EXPECT_EQ(manifest->bytes, bytes);
    EXPECT_EQ(manifest->media_type, kImage);
    EXPECT_EQ(manifest->digest, Sha256Digest(bytes));
  }
}

TEST_F(RegistryTest, ATagMovesToWhatWasPushedLast) {
  const std::string first = ManifestOf("first"), second = ManifestOf("second");
  ASSERT_THAT(registry_->PutManifest("a", "v1", kImage, first), IsOk());
  ASSERT_THAT(registry_->PutManifest("a", "v1", kImage, second), IsOk());
  EXPECT_EQ(registry_->GetManifest("a", "v1")->bytes, second);
  EXPECT_EQ(registry_->GetManifest("a", Sha256Digest(first))->bytes, first);
}

TEST_F(RegistryTest, AcceptsAManifestUnderItsSha512Digest) {
  const std::string bytes = ManifestOf("weights");
  const std::string digest = BlobDigest(bytes, "sha512:");
  EXPECT_THAT(registry_->PutManifest("a", digest, kImage, bytes), IsOkAndHolds(digest));
  EXPECT_EQ(registry_->GetManifest("a", digest)->bytes, bytes);
}

TEST_F(RegistryTest, RefusesAManifestWhoseBlobIsMissing) {
  ManifestOf("something else");
  EXPECT_THAT(registry_->PutManifest("a", "v1", kImage, Unstored("weights", 7)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(Sha256Digest("weights"))));
  EXPECT_THAT(registry_->GetManifest("a", "v1"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RegistryTest, RefusesAManifestThatIsWrongAboutASize) {
  ManifestOf("weights");
  EXPECT_THAT(registry_->PutManifest("a", "v1", kImage, Unstored("weights", 8)),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("has 7 bytes, not 8")));
}

TEST_F(RegistryTest, RefusesAManifestUnderAnotherDigest) {
  EXPECT_THAT(registry_->PutManifest("a", Sha256Digest("x"), kImage, ManifestOf("weights")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(Sha256Digest("x"))));
}

TEST_F(RegistryTest, RefusesTagsThatAreNone) {
  for (const char* tag : {"..", "a/b", ".hidden", "sha256:12"}) {
    EXPECT_THAT(registry_->PutManifest("a", tag, kImage, ManifestOf("weights")),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << tag;
    EXPECT_THAT(registry_->GetManifest("a", tag), StatusIs(absl::StatusCode::kNotFound)) << tag;
    EXPECT_THAT(registry_->DeleteManifest("a", tag), StatusIs(absl::StatusCode::kNotFound)) << tag;
  }
}

TEST_F(RegistryTest, AcceptsAnIndexOfManifestsThatAreElsewhere) {
  const std::string index = absl::StrCat(R"({"schemaVersion":2,"manifests":[{"mediaType":")", kImage, R"(","digest":")",
                                         Sha256Digest("x"), R"(","size":1}]})");
  EXPECT_THAT(registry_->PutManifest("a", "v1", kIndex, index), IsOkAndHolds(Sha256Digest(index)));
}

TEST_F(RegistryTest, DeletingATagKeepsItsManifest) {
  const std::string bytes = ManifestOf("weights");
  ASSERT_THAT(registry_->PutManifest("a", "v1", kImage, bytes), IsOk());
  ASSERT_THAT(registry_->DeleteManifest("a", "v1"), IsOk());
  EXPECT_THAT(registry_->GetManifest("a", "v1"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(registry_->GetManifest("a", Sha256Digest(bytes)), IsOk());
  EXPECT_THAT(registry_->DeleteManifest("a", "v1"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RegistryTest, DeletingAManifestDeletesItsTagsOnly) {
  const std::string first = ManifestOf("first"), second = ManifestOf("second");
  ASSERT_THAT(registry_->PutManifest("a", "one", kImage, first), IsOk());
  ASSERT_THAT(registry_->PutManifest("a", "two", kImage, second), IsOk());
  ASSERT_THAT(registry_->DeleteManifest("a", Sha256Digest(first)), IsOk());
  EXPECT_THAT(registry_->Tags("a", {})->names, ElementsAre("two"));
  EXPECT_THAT(registry_->GetManifest("a", Sha256Digest(first)), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RegistryTest, ListsTagsInPages) {
  const std::string bytes = ManifestOf("weights");
  for (const char* tag : {"v2", "v10", "v1"}) ASSERT_THAT(registry_->PutManifest("a", tag, kImage, bytes), IsOk());
  const auto first = registry_->Tags("a", {.limit = 2});
  ASSERT_THAT(first, IsOk());
  EXPECT_THAT(first->names, ElementsAre("v1", "v10"));
  EXPECT_TRUE(first->more);
  const auto rest = registry_->Tags("a", {.limit = 2, .last = "v10"});
  ASSERT_THAT(rest, IsOk());
  EXPECT_THAT(rest->names, ElementsAre("v2"));
  EXPECT_FALSE(rest->more);
  EXPECT_THAT(registry_->Tags("a", {.limit = 0})->names, IsEmpty());
  EXPECT_THAT(registry_->Tags("b", {}), StatusIs(absl::StatusCode::kNotFound, HasSubstr("b")));
}

TEST_F(RegistryTest, WritesThatACrashCutShortAreNoTags) {
  ASSERT_THAT(registry_->PutManifest("a", "v1", kImage, ManifestOf("weights")), IsOk());
  std::ofstream(folder_ / "repositories/a/tags/v2.tag.17.0.tmp") << "sha256:";
  EXPECT_THAT(registry_->Tags("a", {})->names, ElementsAre("v1"));
}

TEST_F(RegistryTest, ListsRepositoriesThatHaveAManifest) {
  const std::string bytes = ManifestOf("weights");
  ASSERT_THAT(registry_->PutManifest("students/a", "v1", kImage, bytes), IsOk());
  ASSERT_THAT(registry_->PutManifest("gone", "v1", kImage, bytes), IsOk());
  ASSERT_THAT(registry_->DeleteManifest("gone", Sha256Digest(bytes)), IsOk());
  EXPECT_THAT(registry_->Repositories({})->names, ElementsAre("students/a"));
}

TEST_F(RegistryTest, ADamagedManifestIsNotHandedOutAndCanBePushedAgain) {
  const std::string bytes = ManifestOf("weights");
  ASSERT_THAT(registry_->PutManifest("a", "v1", kImage, bytes), IsOk());
  std::ofstream(registry_->blobs().Find(Sha256Digest(bytes))->path) << "{}";
  EXPECT_THAT(registry_->GetManifest("a", "v1"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("again")));
  EXPECT_THAT(registry_->GetManifest("a", "v1"), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("again")));
  ASSERT_THAT(registry_->PutManifest("a", "v1", kImage, bytes), IsOk());
  EXPECT_EQ(registry_->GetManifest("a", "v1")->bytes, bytes);
}

TEST_F(RegistryTest, AFolderIsServedOnce) {
  EXPECT_THAT(Registry::Open(folder_.path(), clock_),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(folder_.path())));
}

}  // namespace
}  // namespace kd
