#include "base/digest.h"

#include <string>

#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

// FIPS 180-2, appendix B.1.
TEST(DigestTest, Sha256OfAbcIsTheStandardsExample) {
  EXPECT_EQ(Sha256Digest("abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(DigestTest, PiecesGiveTheSameDigestAsTheWhole) {
  Sha256 hasher;
  hasher.Update("a");
  hasher.Update("bc");
  EXPECT_EQ(hasher.Finish(), Sha256Digest("abc"));
}

TEST(DigestTest, AMissingFileIsNamed) {
  EXPECT_THAT(Sha256DigestOfFile("/no/such/file"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/no/such/file")));
}

TEST(DigestTest, OnlyLowerCaseHexIsADigest) {
  EXPECT_TRUE(IsSha256Digest(Sha256Digest("")));
  EXPECT_FALSE(IsSha256Digest("sha256:abc"));
  EXPECT_FALSE(IsSha256Digest("sha256:" + std::string(64, 'A')));
  EXPECT_FALSE(IsSha256Digest("md5:" + std::string(64, 'a')));
}

// RFC 3720, appendix B.4.
TEST(DigestTest, Crc32cMatchesTheIscsiExamples) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

TEST(DigestTest, Crc32cContinuesFromASeed) { EXPECT_EQ(Crc32c("56789", Crc32c("1234")), Crc32c("123456789")); }

}  // namespace
}  // namespace kd
