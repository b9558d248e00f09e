#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kd {
namespace {

constexpr size_t kPiece = 4096;

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

absl::Status ErrnoOf(absl::string_view action, const std::string& path) {
  const int error = errno;
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot ", action, " \"", path, "\": the disk is full; free space and try again"));
  }
  return absl::ErrnoToStatus(error, absl::StrCat("cannot ", action, " \"", path, "\""));
}

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoOf("write", path);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status SyncFolder(const std::string& path) {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return ErrnoOf("open", path);
  if (::fsync(folder.get()) != 0) return ErrnoOf("sync", path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, uint64_t max_bytes) {
  // A pipe that nobody writes to would hold a blocking open for ever.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) return ErrnoOf("open", path);
  struct stat info;
  if (::fstat(file.get(), &info) != 0) return ErrnoOf("stat", path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", path, "\" is ", S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe", ", not a file"));
  }
  if (static_cast<uint64_t>(info.st_size) > max_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("\"", path, "\" has ", info.st_size, " bytes; at most ", max_bytes, " are read"));
  }
  // Files of /proc have no size and yet bytes.
  std::string bytes(info.st_size > 0 ? static_cast<size_t>(info.st_size) : kPiece, '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.get(), bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoOf("read", path);
    if (n == 0) break;
    done += static_cast<size_t>(n);
    if (info.st_size > 0 || done < bytes.size()) continue;
    if (done > max_bytes)
      return absl::ResourceExhaustedError(absl::StrCat("\"", path, "\" has more than ", max_bytes, " bytes"));
    bytes.resize(done + kPiece);
  }
  bytes.resize(done);
  return bytes;
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view bytes) {
  static std::atomic<uint64_t> counter{0};
  const std::string temporary = absl::StrCat(path, ".", ::getpid(), ".", counter.fetch_add(1), ".tmp");
  absl::Status status;
  {
    const FileDescriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) return ErrnoOf("create", temporary);
    status = WriteAll(file.get(), bytes, path);
    if (status.ok() && ::fsync(file.get()) != 0) status = ErrnoOf("sync", path);
  }
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = ErrnoOf("replace", path);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  const std::string folder = std::filesystem::path(path).parent_path().string();
  return SyncFolder(folder.empty() ? "." : folder);
}

absl::Status CreateFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot create folder \"", path, "\""));
  return absl::OkStatus();
}

}  // namespace kd
