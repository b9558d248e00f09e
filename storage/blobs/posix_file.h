// The steps of a durable write, for files that are too large to be written in one go (see base/file.h for the others).
#ifndef KD_STORAGE_BLOBS_POSIX_FILE_H_
#define KD_STORAGE_BLOBS_POSIX_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Owns an open file.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~FileDescriptor();

  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// open(2) with `flags` and O_CLOEXEC. NOT_FOUND, PERMISSION_DENIED or another code of errno, naming the path.
absl::StatusOr<FileDescriptor> OpenFile(const std::string& path, int flags);

// Writes all of `bytes` at `offset`. RESOURCE_EXHAUSTED: the disk is full; part of `bytes` may have been written.
absl::Status WriteAt(const FileDescriptor& file, uint64_t offset, absl::string_view bytes, const std::string& path);

// Puts the content on the disk. RESOURCE_EXHAUSTED as above.
absl::Status SyncFile(const FileDescriptor& file, const std::string& path);

// Renames in one step that survives power loss once it returns OK. Both paths lie on one file system.
absl::Status RenameDurably(const std::string& from, const std::string& to);

// Removes a file; returns once that survives power loss. NOT_FOUND: there is none.
absl::Status RemoveDurably(const std::string& path);

// Makes a folder whose parent exists; OK when it is there already.
absl::Status CreateFolderDurably(const std::string& path);

}  // namespace kd

#endif  // KD_STORAGE_BLOBS_POSIX_FILE_H_
