#include "storage/blobs/folder_blob_store.h"

#include <fcntl.h>
#include <openssl/rand.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "storage/blobs/blob_digest.h"

namespace kd {
namespace {

constexpr size_t kUploadNameBytes = 16;

// Names come from URLs and become paths.
bool IsUploadName(absl::string_view name) {
  return name.size() == 2 * kUploadNameBytes && name.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

std::string NewUploadName() {
  std::array<unsigned char, kUploadNameBytes> bytes;
  RAND_bytes(bytes.data(), bytes.size());
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderBlobStore>> FolderBlobStore::Open(const FolderBlobStoreOptions& options,
                                                                       const Clock& clock) {
  KD_RETURN_IF_ERROR(CreateFolders(options.folder));
  for (const char* name : {"blobs", "blobs/sha256", "blobs/sha512", "uploads", "corrupt"}) {
    KD_RETURN_IF_ERROR(CreateFolderDurably(absl::StrCat(options.folder, "/", name)));
  }
  std::unique_ptr<FolderBlobStore> store(new FolderBlobStore(options, clock));
  store->DropAbandonedUploads();
  return store;
}

std::string FolderBlobStore::PathOf(absl::string_view digest) const {
  const size_t colon = digest.find(':');
  const absl::string_view hex = digest.substr(colon + 1);
  return absl::StrCat(options_.folder, "/blobs/", digest.substr(0, colon), "/", hex.substr(0, 2), "/", hex);
}

std::string FolderBlobStore::UploadPath(const std::string& name) const {
  return absl::StrCat(options_.folder, "/uploads/", name);
}

absl::StatusOr<FolderBlobStore::Blob> FolderBlobStore::Find(absl::string_view digest) const {
  Blob blob{.path = PathOf(digest)};
  struct stat info;
  if (::stat(blob.path.c_str(), &info) != 0)
    return absl::NotFoundError(absl::StrCat("blob ", digest, " is not here; push it first"));
  blob.size = static_cast<uint64_t>(info.st_size);
  return blob;
}

absl::StatusOr<std::string> FolderBlobStore::Read(absl::string_view digest, uint64_t max_bytes) {
  KD_ASSIGN_OR_RETURN(const Blob blob, Find(digest));
  KD_ASSIGN_OR_RETURN(std::string bytes, ReadFile(blob.path, max_bytes));
  if (BlobDigest(bytes, digest) == digest) return bytes;
  MoveAside(digest);
  return absl::DataLossError(absl::StrCat("the bytes of ", digest, " on the disk are damaged; push it again"));
}

absl::Status FolderBlobStore::Put(absl::string_view digest, absl::string_view bytes) {
  KD_ASSIGN_OR_RETURN(const std::string name, StartUpload());
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<BlobUpload> upload, OpenUpload(name));
  const absl::Status status = upload->Append(bytes);
  if (status.ok()) return upload->Commit(digest);
  upload->Discard().IgnoreError();  // The first failure is the one to tell.
  return status;
}

void FolderBlobStore::MoveAside(absl::string_view digest) {
  absl::WriterMutexLock lock(&renaming_);
  const absl::StatusOr<std::string> actual = BlobDigestOfFile(PathOf(digest), digest);
  if (!actual.ok() || *actual == digest) return;
  const std::string aside = absl::StrCat(options_.folder, "/corrupt/", absl::StrReplaceAll(digest, {{":", "-"}}));
  const absl::Status moved = RenameDurably(PathOf(digest), aside);
  LogError("the bytes of blob ", digest, " on the disk are damaged; ",
           moved.ok() ? absl::StrCat("moved to \"", aside, "\", push it again") : std::string(moved.message()));
}

absl::StatusOr<std::string> FolderBlobStore::StartUpload() {
  if (DropAbandonedUploads() >= options_.max_uploads) {
    return absl::UnavailableError(
        absl::StrCat(options_.max_uploads, " uploads are open; finish or cancel some, or try again later"));
  }
  const std::string name = NewUploadName();
  KD_RETURN_IF_ERROR(OpenFile(UploadPath(name), O_WRONLY | O_CREAT | O_EXCL).status());
  return name;
}

absl::StatusOr<std::unique_ptr<BlobUpload>> FolderBlobStore::OpenUpload(const std::string& name) {
  const absl::Status unknown =
      absl::NotFoundError(absl::StrCat("upload \"", absl::CEscape(name), "\" is not open; start a new one"));
  if (!IsUploadName(name)) return unknown;
  absl::MutexLock lock(&mutex_);
  if (claimed_.contains(name))
    return absl::AbortedError(absl::StrCat("upload ", name, " is being written by another request; await its end"));
  const std::string path = UploadPath(name);
  absl::StatusOr<FileDescriptor> file = OpenFile(path, O_WRONLY);
  if (absl::IsNotFound(file.status())) return unknown;
  if (!file.ok()) return file.status();
  struct stat info;
  if (::fstat(file->get(), &info) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot measure \"", path, "\""));
  claimed_.insert(name);
  return std::unique_ptr<BlobUpload>(
      new BlobUpload(*this, name, path, *std::move(file), static_cast<uint64_t>(info.st_size)));
}

void FolderBlobStore::Release(const std::string& name) {
  absl::MutexLock lock(&mutex_);
  claimed_.erase(name);
}

int FolderBlobStore::DropAbandonedUploads() {
  const absl::Time limit = clock_.Now() - options_.abandoned_after;
  int remaining = 0;
  std::error_code error;
  absl::MutexLock lock(&mutex_);
  for (std::filesystem::directory_iterator entry(absl::StrCat(options_.folder, "/uploads"), error), end;
       !error && entry != end; entry.increment(error)) {
    struct stat info;
    const bool abandoned = ::stat(entry->path().c_str(), &info) == 0 && absl::TimeFromTimespec(info.st_mtim) < limit &&
                           !claimed_.contains(entry->path().filename().string());
    if (!abandoned || ::unlink(entry->path().c_str()) != 0) ++remaining;
  }
  return remaining;
}

BlobUpload::~BlobUpload() {
  if (size_ != kept_ && ::ftruncate(file_.get(), static_cast<off_t>(kept_)) != 0) {
    LogError("cannot take back part of upload \"", path_, "\"; its digest will not match");
  }
  store_.Release(name_);
}

absl::Status BlobUpload::Append(absl::string_view bytes) {
  KD_RETURN_IF_ERROR(WriteAt(file_, size_, bytes, path_));
  size_ += bytes.size();
  return absl::OkStatus();
}

absl::Status BlobUpload::Keep() {
  KD_RETURN_IF_ERROR(SyncFile(file_, path_));
  kept_ = size_;
  return absl::OkStatus();
}

absl::Status BlobUpload::Commit(absl::string_view digest) {
  // The digest of what the file holds, not of what was meant to be written: uploads may span restarts.
  KD_ASSIGN_OR_RETURN(const std::string actual, BlobDigestOfFile(path_, digest));
  if (actual != digest) {
    KD_RETURN_IF_ERROR(Discard());
    return absl::InvalidArgumentError(
        absl::StrCat("the bytes sent as ", digest, " have the digest ", actual, "; send them again"));
  }
  KD_RETURN_IF_ERROR(Keep());
  const std::string path = store_.PathOf(digest);
  KD_RETURN_IF_ERROR(CreateFolderDurably(std::filesystem::path(path).parent_path().string()));
  absl::ReaderMutexLock lock(&store_.renaming_);
  return RenameDurably(path_, path);
}

absl::Status BlobUpload::Discard() {
  kept_ = size_;
  return RemoveDurably(path_);
}

}  // namespace kd
