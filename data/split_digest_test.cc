#include "data/split_digest.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

// More than are kept in memory at once.
constexpr size_t kFrames = 10000;

TEST(SplitDigestTest, IsOfTheHeadAndEveryPartInOrder) {
  std::string all = "head\n";
  for (size_t i = 0; i < kFrames; ++i) absl::StrAppend(&all, "frame ", i, "\n");
  EXPECT_THAT(SplitDigest("head\n", kFrames, [](size_t i) { return absl::StrCat("frame ", i, "\n"); }),
              IsOkAndHolds(Sha256Digest(all)));
  EXPECT_THAT(SplitDigest("head\n", 0, [](size_t) { return std::string(); }), IsOkAndHolds(Sha256Digest("head\n")));
}

TEST(SplitDigestTest, TheFirstFrameThatCannotBeHadIsTold) {
  const auto part = [](size_t i) -> absl::StatusOr<std::string> {
    if (i == 5000 || i == 5001 || i == 9999) return absl::NotFoundError(absl::StrCat("frame ", i));
    return std::string("there");
  };
  for (int round = 0; round < 20; ++round) {
    EXPECT_THAT(SplitDigest("", kFrames, part), StatusIs(absl::StatusCode::kNotFound, "frame 5000"));
  }
}

}  // namespace
}  // namespace kd
