// Blobs by digest in a folder (docs: server/registry/FORMAT.md).
#ifndef KD_STORAGE_BLOBS_FOLDER_BLOB_STORE_H_
#define KD_STORAGE_BLOBS_FOLDER_BLOB_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "storage/blobs/posix_file.h"

namespace kd {

class BlobUpload;

struct FolderBlobStoreOptions {
  std::string folder;
  int max_uploads = 1024;
  absl::Duration abandoned_after = absl::Hours(24);  // an upload that nobody touched for so long is dropped
};

// Thread-safe. What a call acknowledged survives kill -9 and power loss. A digest argument satisfies IsDigest()
// (core/registry_reference.h).
class FolderBlobStore {
 public:
  struct Blob {
    std::string path;
    uint64_t size = 0;
  };

  // Makes the folder if it is missing. Codes of errno name the path.
  static absl::StatusOr<std::unique_ptr<FolderBlobStore>> Open(const FolderBlobStoreOptions& options,
                                                               const Clock& clock);

  // NOT_FOUND: no such blob.
  absl::StatusOr<Blob> Find(absl::string_view digest) const;

  // Content of a blob. NOT_FOUND as above. RESOURCE_EXHAUSTED: larger than `max_bytes`. DATA_LOSS: the bytes on the
  // disk are not those of the digest; the blob was moved aside.
  absl::StatusOr<std::string> Read(absl::string_view digest, uint64_t max_bytes);

  // Stores `bytes` under their digest. INVALID_ARGUMENT: they have another one.
  absl::Status Put(absl::string_view digest, absl::string_view bytes);

  // Moves a blob whose bytes turned out wrong to corrupt/, so that it can be stored anew. One that is right by now
  // stays.
  void MoveAside(absl::string_view digest);

  // Begins an upload and returns its name. RESOURCE_EXHAUSTED: the disk is full. UNAVAILABLE: too many are open.
  absl::StatusOr<std::string> StartUpload();

  // Claims an upload. NOT_FOUND: no such upload. ABORTED: somebody else writes to it now.
  absl::StatusOr<std::unique_ptr<BlobUpload>> OpenUpload(const std::string& name);

 private:
  friend class BlobUpload;
  FolderBlobStore(const FolderBlobStoreOptions& options, const Clock& clock) : options_(options), clock_(clock) {}

  std::string PathOf(absl::string_view digest) const;
  std::string UploadPath(const std::string& name) const;
  // Returns the number of uploads that remain.
  int DropAbandonedUploads();
  void Release(const std::string& name);

  const FolderBlobStoreOptions options_;
  const Clock& clock_;
  absl::Mutex renaming_;  // shared by new blobs; exclusive while one is moved aside, lest that hit its replacement
  absl::Mutex mutex_;
  absl::flat_hash_set<std::string> claimed_ ABSL_GUARDED_BY(mutex_);
};

// A claimed upload; the claim ends with the object. Bytes that were appended without Keep() or Commit() are taken back.
class BlobUpload {
 public:
  ~BlobUpload();
  BlobUpload(const BlobUpload&) = delete;
  BlobUpload& operator=(const BlobUpload&) = delete;

  // Bytes so far, of this claim and of those before it.
  uint64_t size() const { return size_; }

  // RESOURCE_EXHAUSTED: the disk is full.
  absl::Status Append(absl::string_view bytes);

  // Puts what was appended on the disk, to be continued under the same name.
  absl::Status Keep();

  // Turns the upload into the blob `digest` and ends it. INVALID_ARGUMENT: its bytes have another digest; it ends too.
  absl::Status Commit(absl::string_view digest);

  // Ends the upload; nothing stays of it.
  absl::Status Discard();

 private:
  friend class FolderBlobStore;
  BlobUpload(FolderBlobStore& store, std::string name, std::string path, FileDescriptor file, uint64_t size)
      : store_(store),
        name_(std::move(name)),
        path_(std::move(path)),
        file_(std::move(file)),
        kept_(size),
        size_(size) {}

  FolderBlobStore& store_;
  const std::string name_;
  const std::string path_;
  const FileDescriptor file_;
  uint64_t kept_;
  uint64_t size_;
};

}  // namespace kd

#endif  // KD_STORAGE_BLOBS_FOLDER_BLOB_STORE_H_
