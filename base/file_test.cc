#include "base/file.h"

#include <sys/stat.h>

#include "base/status_matchers.h"
#include "base/testing.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

TEST(FileTest, ReadsWhatWasWritten) {
  const TemporaryFolder folder;
  ASSERT_THAT(WriteFileAtomically(folder / "a", "old"), IsOk());
  ASSERT_THAT(WriteFileAtomically(folder / "a", std::string("new\0", 4)), IsOk());
  const auto bytes = ReadFile(folder / "a");
  ASSERT_THAT(bytes, IsOk());
  EXPECT_EQ(*bytes, std::string("new\0", 4));
}

TEST(FileTest, ReadsRegularFilesOnly) {
  const TemporaryFolder folder;
  EXPECT_THAT(ReadFile(folder / "missing").status(), StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")));
  EXPECT_THAT(ReadFile(folder.path()).status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is a folder")));
  // Nobody writes to it: an ordinary open would wait for ever.
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(ReadFile(folder / "pipe").status(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("pipe")));
}

TEST(FileTest, ReadsFilesOfTheKernelWhichHaveNoSize) {
  const auto boot = ReadFile("/proc/sys/kernel/random/boot_id");
  ASSERT_THAT(boot, IsOk());
  EXPECT_EQ(boot->size(), 37u) << *boot;
  const auto maps = ReadFile("/proc/self/smaps");
  ASSERT_THAT(maps, IsOk());
  EXPECT_GT(maps->size(), 4096u);
}

TEST(FileTest, ReadsNoMoreThanAllowed) {
  const TemporaryFolder folder;
  ASSERT_THAT(WriteFileAtomically(folder / "a", "12345"), IsOk());
  EXPECT_THAT(ReadFile(folder / "a", 5), IsOk());
  EXPECT_THAT(ReadFile(folder / "a", 4).status(), StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("5 bytes")));
}

}  // namespace
}  // namespace kd
