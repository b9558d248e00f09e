#include "data/tfrecord.h"

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/hostile_input.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

void WriteBytes(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

std::string ThreeRecords() { return FrameTfRecord("first") + FrameTfRecord("") + FrameTfRecord(std::string(300, 'x')); }

TEST(TfRecordTest, RecordsComeBackAsTheyWereWritten) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.tfrecord";
  WriteBytes(path, ThreeRecords());
  const auto file = TfRecordFile::Open(path);
  ASSERT_THAT(file, IsOk());
  ASSERT_EQ(file->records().size(), 3u);
  EXPECT_THAT(file->Read(0), IsOkAndHolds("first"));
  EXPECT_THAT(file->Read(1), IsOkAndHolds(""));
  EXPECT_THAT(file->Read(2), IsOkAndHolds(std::string(300, 'x')));
  EXPECT_EQ(file->Place(1), path + ": record 1 at byte 21");
}

TEST(TfRecordTest, ChecksumsAreMaskedCrc32c) {
  EXPECT_EQ(FrameTfRecord("hello"), std::string("\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3ehello\xbb\x1f\x1c\x19", 21));
}

TEST(TfRecordTest, ATailThatIsCutIsDataLossWithItsPlace) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.tfrecord", whole = ThreeRecords();
  for (size_t length = 1; length < whole.size(); ++length) {
    WriteBytes(path, whole.substr(0, length));
    const auto file = TfRecordFile::Open(path);
    if (length == 21 || length == 37) {
      EXPECT_THAT(file, IsOk()) << "cut between two records";
      continue;
    }
    const int record = length < 21 ? 0 : length < 37 ? 1 : 2, start = record == 0 ? 0 : record == 1 ? 21 : 37;
    ASSERT_THAT(file, StatusIs(absl::StatusCode::kDataLoss,
                               absl::StrCat(path, ": record ", record, " at byte ", start, ": only ", length - start,
                                            " bytes of it are there; the file is cut short, copy it anew")));
  }
}

TEST(TfRecordTest, AWrongChecksumIsDataLossWithItsPlace) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.tfrecord";
  std::string bytes = ThreeRecords();
  bytes[21] ^= 1;
  WriteBytes(path, bytes);
  EXPECT_THAT(
      TfRecordFile::Open(path),
      StatusIs(absl::StatusCode::kDataLoss,
               path + ": record 1 at byte 21: the checksum of its length is wrong; the file is damaged or is no "
                      "TFRecord file, copy it anew"));
  bytes = ThreeRecords();
  bytes[60] ^= 1;
  WriteBytes(path, bytes);
  const auto file = TfRecordFile::Open(path);
  ASSERT_THAT(file, IsOk());
  EXPECT_THAT(file->Read(0), IsOk());
  EXPECT_THAT(
      file->Read(2),
      StatusIs(
          absl::StatusCode::kDataLoss,
          path + ": record 2 at byte 37: the checksum of its payload is wrong; the file is damaged, copy it anew"));
}

TEST(TfRecordTest, AnAbsurdLengthIsRefusedBeforeMemoryIsTaken) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.tfrecord";
  // Length 2^63 with the checksum that belongs to it.
  WriteBytes(path, std::string("\0\0\0\0\0\0\0\x80\x95\x08\x67\xb6", 12) + std::string(100, 'x'));
  EXPECT_THAT(TfRecordFile::Open(path),
              StatusIs(absl::StatusCode::kDataLoss,
                       HasSubstr("it claims 9223372036854775808 bytes, at most 1073741824 are possible")));
}

TEST(TfRecordTest, AnEmptyOrMissingFileIsNamed) {
  const TemporaryFolder folder;
  WriteBytes(folder / "a", "");
  EXPECT_THAT(TfRecordFile::Open(folder / "a"),
              StatusIs(absl::StatusCode::kDataLoss, folder / "a" + " is empty; the file is cut short, copy it anew"));
  EXPECT_THAT(TfRecordFile::Open(folder / "b"), StatusIs(absl::StatusCode::kNotFound, HasSubstr(folder / "b")));
  EXPECT_THAT(TfRecordFile::Open(folder.path()),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a regular file")));
}

TEST(TfRecordTest, AFileThatShrinksAfterwardsIsDataLoss) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.tfrecord";
  WriteBytes(path, ThreeRecords());
  const auto file = TfRecordFile::Open(path);
  std::filesystem::resize_file(path, 100);
  EXPECT_THAT(file->Read(2),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("record 2 at byte 37: the file became shorter")));
}

TEST(TfRecordTest, HostileFilesGiveTheirRecordsOrAreRefusedInOneLine) {
  const TemporaryFolder folder;
  const std::string path = folder / "a.tfrecord";
  const std::set<std::string> known = {"first", "", std::string(300, 'x')};
  int refused = 0;
  const auto expect_refusal = [&](const absl::Status& status) {
    ++refused;
    ASSERT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, HasSubstr(path)));
    ASSERT_THAT(status.message(), IsOneLine());
  };
  ForHostileInput(ThreeRecords(), 2000, [&](const std::string& bytes) {
    WriteBytes(path, bytes);
    const auto file = TfRecordFile::Open(path);
    if (!file.ok()) return expect_refusal(file.status());
    for (size_t i = 0; i < file->records().size(); ++i) {
      const auto payload = file->Read(i);
      if (!payload.ok()) return expect_refusal(payload.status());
      ASSERT_TRUE(known.contains(*payload)) << "bytes that were never written";
    }
  });
  EXPECT_GT(refused, 4000);
}

}  // namespace
}  // namespace kd
