#include "data/tfrecord.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/status.h"

namespace kd {
namespace {

constexpr uint64_t kHeadBytes = 12;  // length, its checksum
constexpr uint64_t kTailBytes = 4;   // the payload's checksum
constexpr uint64_t kMaxPayloadBytes = uint64_t{1} << 30;

// A checksum over bytes that hold checksums would be weak; TFRecord stores it rotated and shifted.
uint32_t MaskedCrc(absl::string_view bytes) {
  const uint32_t crc = Crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

template <typename T>
T LittleEndian(const char* bytes) {
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) value = static_cast<T>(value << 8 | static_cast<unsigned char>(bytes[i]));
  return value;
}

template <typename T>
std::string ToLittleEndian(T value) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(T); ++i) bytes.push_back(static_cast<char>(value >> 8 * i));
  return bytes;
}

std::string PlaceOf(const std::string& path, size_t record, uint64_t byte) {
  return absl::StrCat(path, ": record ", record, " at byte ", byte);
}

absl::Status Damaged(const std::string& place, absl::string_view problem) {
  return absl::DataLossError(absl::StrCat(place, ": ", problem, ", copy it anew"));
}

class File {
 public:
  static absl::StatusOr<File> Open(const std::string& path) {
    // A pipe must not be waited for.
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
      const int error = errno;
      return absl::ErrnoToStatus(error, absl::StrCat("cannot open ", path));
    }
    File file(path, fd);
    struct stat info{};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is not a regular file"));
    }
    file.size_ = static_cast<uint64_t>(info.st_size);
    return file;
  }
  File(File&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), size_(other.size_) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }

  uint64_t size() const { return size_; }

  // Fills `count` bytes, or fewer where the file ends; returns how many.
  absl::StatusOr<size_t> ReadAt(uint64_t offset, char* bytes, size_t count) const {
    size_t got = 0;
    while (got < count) {
      const ssize_t n = ::pread(fd_, bytes + got, count - got, static_cast<off_t>(offset + got));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        const int error = errno;
        return absl::ErrnoToStatus(error, absl::StrCat("cannot read ", path_));
      }
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    return got;
  }

 private:
  File(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  std::string path_;
  int fd_;
  uint64_t size_ = 0;
};

}  // namespace

absl::StatusOr<TfRecordFile> TfRecordFile::Open(const std::string& path) {
  KD_ASSIGN_OR_RETURN(const File file, File::Open(path));
  if (file.size() == 0)
    return absl::DataLossError(absl::StrCat(path, " is empty; the file is cut short, copy it anew"));
  std::vector<Record> records;
  // One read takes a record's tail together with the next one's head.
  char bytes[kTailBytes + kHeadBytes];
  for (uint64_t at = 0; at < file.size();) {
    const uint64_t left = file.size() - at;
    const auto error = [&](absl::string_view problem) { return Damaged(PlaceOf(path, records.size(), at), problem); };
    const auto cut_short = [&] {
      return error(absl::StrCat("only ", left, " bytes of it are there; the file is cut short"));
    };
    if (left < kHeadBytes + kTailBytes) return cut_short();
    const uint64_t before = records.empty() ? 0 : kTailBytes;
    KD_ASSIGN_OR_RETURN(const size_t got, file.ReadAt(at - before, bytes, before + kHeadBytes));
    if (got < before + kHeadBytes) return cut_short();
    if (!records.empty()) records.back().masked_crc = LittleEndian<uint32_t>(bytes);
    const char* head = bytes + before;
    if (MaskedCrc({head, 8}) != LittleEndian<uint32_t>(head + 8)) {
      return error("the checksum of its length is wrong; the file is damaged or is no TFRecord file");
    }
    const uint64_t length = LittleEndian<uint64_t>(head);
    if (length > kMaxPayloadBytes) {
      return error(absl::StrCat("it claims ", length, " bytes, at most ", kMaxPayloadBytes,
                                " are possible; the file is damaged"));
    }
    if (length > left - kHeadBytes - kTailBytes) return cut_short();
    records.push_back({.offset = at + kHeadBytes, .length = length});
    at += kHeadBytes + length + kTailBytes;
  }
  KD_ASSIGN_OR_RETURN(const size_t got, file.ReadAt(file.size() - kTailBytes, bytes, kTailBytes));
  if (got < kTailBytes)
    return absl::DataLossError(absl::StrCat(path, " became shorter while it was read; copy it anew"));
  records.back().masked_crc = LittleEndian<uint32_t>(bytes);
  return TfRecordFile(path, std::move(records));
}

std::string TfRecordFile::Place(size_t index) const {
  return PlaceOf(path_, index, records_.at(index).offset - kHeadBytes);
}

absl::StatusOr<std::string> TfRecordFile::Read(size_t index) const {
  const Record& record = records_.at(index);
  KD_ASSIGN_OR_RETURN(const File file, File::Open(path_));
  std::string payload(record.length, '\0');
  KD_ASSIGN_OR_RETURN(const size_t got, file.ReadAt(record.offset, payload.data(), payload.size()));
  if (got < payload.size()) return Damaged(Place(index), "the file became shorter after it was opened");
  if (MaskedCrc(payload) != record.masked_crc)
    return Damaged(Place(index), "the checksum of its payload is wrong; the file is damaged");
  return payload;
}

std::string FrameTfRecord(absl::string_view payload) {
  const std::string length = ToLittleEndian<uint64_t>(payload.size());
  return absl::StrCat(length, ToLittleEndian(MaskedCrc(length)), payload, ToLittleEndian(MaskedCrc(payload)));
}

}  // namespace kd
