#include "core/registry_reference.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(RegistryReferenceTest, ReadsATag) {
  const auto reference = ParseRegistryReference("registry://students/cp-half:v1");
  ASSERT_THAT(reference, IsOk());
  EXPECT_EQ(reference->repository, "students/cp-half");
  EXPECT_EQ(reference->reference, "v1");
  EXPECT_EQ(reference->ToString(), "registry://students/cp-half:v1");
}

TEST(RegistryReferenceTest, ReadsADigest) {
  const std::string digest = absl::StrCat("sha256:", std::string(64, 'a'));
  const auto reference = ParseRegistryReference(absl::StrCat("registry://teachers/sim@", digest));
  ASSERT_THAT(reference, IsOk());
  EXPECT_EQ(reference->repository, "teachers/sim");
  EXPECT_EQ(reference->reference, digest);
  EXPECT_EQ(reference->ToString(), absl::StrCat("registry://teachers/sim@", digest));
}

TEST(RegistryReferenceTest, QuotesWhatItRefusesAndShowsARightForm) {
  for (const char* text : {"", "students/cp-half:v1", "registry://", "registry://students/cp-half", "registry://:v1",
                           "registry://Students/x:v1", "registry://students/x:", "registry://students/x:.v1",
                           "registry://students/x@v1", "registry://students/x@sha256:12", "registry://students//x:v1",
                           "registry://students/x:v1@sha256:aa", "registry://../x:v1", "registry://students/x:v/1"}) {
    EXPECT_THAT(ParseRegistryReference(text),
                StatusIs(absl::StatusCode::kInvalidArgument, AllOf(HasSubstr(absl::StrCat("\"", text, "\"")),
                                                                   HasSubstr("registry://students/cp-half:v1"))));
  }
}

TEST(RegistryReferenceTest, EscapesUnprintableInput) {
  EXPECT_THAT(ParseRegistryReference("registry://a\n:v1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a\\n:v1")));
}

TEST(RegistryReferenceTest, RepositoryNamesFollowTheStandard) {
  for (const char* name : {"a", "a/b/c", "a.b", "a_b", "a__b", "a-b", "a---b", "0", "a/0.1_2__3-4"}) {
    EXPECT_TRUE(IsRepositoryName(name)) << name;
  }
  for (const char* name :
       {"", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "-a", "a-", ".", "..", "a/../b", "a b", "a:b"}) {
    EXPECT_FALSE(IsRepositoryName(name)) << name;
  }
  EXPECT_TRUE(IsRepositoryName(std::string(255, 'a')));
  EXPECT_FALSE(IsRepositoryName(std::string(256, 'a')));
}

TEST(RegistryReferenceTest, TagsFollowTheStandard) {
  for (const char* tag : {"v1", "_", "V1.0-rc_1", "0"}) EXPECT_TRUE(IsTag(tag)) << tag;
  for (const char* tag : {"", ".", "..", "-a", ".a", "a/b", "a:b", "a b", "\xc3\xa4"}) EXPECT_FALSE(IsTag(tag)) << tag;
  EXPECT_TRUE(IsTag(std::string(128, 'a')));
  EXPECT_FALSE(IsTag(std::string(129, 'a')));
}

TEST(RegistryReferenceTest, DigestsAreSha256OrSha512InLowerCase) {
  EXPECT_TRUE(IsDigest(absl::StrCat("sha256:", std::string(64, '0'))));
  EXPECT_TRUE(IsDigest(absl::StrCat("sha512:", std::string(128, 'f'))));
  EXPECT_FALSE(IsDigest(absl::StrCat("sha512:", std::string(64, 'f'))));
  EXPECT_FALSE(IsDigest(absl::StrCat("sha256:", std::string(64, 'F'))));
  EXPECT_FALSE(IsDigest(absl::StrCat("md5:", std::string(32, 'f'))));
  EXPECT_FALSE(IsDigest(""));
}

TEST(RegistryReferenceTest, HostileTextIsRefusedInOneLineOrReadsBackTheSame) {
  for (const std::string& good :
       {std::string("registry://students/cp-half:v1"), absl::StrCat("registry://t@sha256:", std::string(64, 'a'))}) {
    int read = 0, refused = 0;
    ForHostileInput(good, 3000, [&](const std::string& text) {
      const auto reference = ParseRegistryReference(text);
      if (!reference.ok()) {
        ++refused;
        ASSERT_EQ(reference.status().code(), absl::StatusCode::kInvalidArgument);
        ASSERT_THAT(reference.status().message(), IsOneLine());
        return;
      }
      ++read;
      ASSERT_EQ(reference->ToString(), text);
    });
    EXPECT_GT(read, 50);
    EXPECT_GT(refused, 1000);
  }
}

}  // namespace
}  // namespace kd
