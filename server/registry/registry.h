// The registry itself: repositories of manifests and tags in a folder (FORMAT.md), without HTTP.
#ifndef KD_SERVER_REGISTRY_REGISTRY_H_
#define KD_SERVER_REGISTRY_REGISTRY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "storage/blobs/folder_blob_store.h"
#include "storage/blobs/posix_file.h"

namespace kd {

// Which part of a sorted list of names: at most `limit` of those behind `last`.
struct NameRange {
  size_t limit = 10000;
  std::string last;
};

struct NamePage {
  std::vector<std::string> names;
  bool more = false;  // names follow
};

struct StoredManifest {
  std::string digest;
  std::string media_type;
  std::string bytes;
};

// Thread-safe. What a call acknowledged survives kill -9 and power loss. Repositories satisfy IsRepositoryName(). A
// reference is a tag or a digest. Statuses carry the standard's error codes (registry_error.h).
class Registry {
 public:
  // Makes the folder if it is missing. FAILED_PRECONDITION: another process serves it.
  static absl::StatusOr<std::unique_ptr<Registry>> Open(const std::string& folder, const Clock& clock);

  FolderBlobStore& blobs() { return *blobs_; }

  // Stores a manifest and, if `reference` is a tag, moves the tag to it; returns its digest.
  // INVALID_ARGUMENT: the manifest, its media type, the tag, or a digest that its bytes don't have.
  // FAILED_PRECONDITION: a blob that it names is not here or has another size; names the blob.
  absl::StatusOr<std::string> PutManifest(const std::string& repository, const std::string& reference,
                                          const std::string& media_type, const std::string& bytes);

  // NOT_FOUND: no such manifest or tag. DATA_LOSS: its bytes on the disk are damaged.
  absl::StatusOr<StoredManifest> GetManifest(const std::string& repository, const std::string& reference);

  // Removes a tag, or a manifest with all its tags. NOT_FOUND as above.
  absl::Status DeleteManifest(const std::string& repository, const std::string& reference);

  // Sorted. NOT_FOUND: the repository has never had a manifest.
  absl::StatusOr<NamePage> Tags(const std::string& repository, const NameRange& range) const;

  // Those that have a manifest, sorted.
  absl::StatusOr<NamePage> Repositories(const NameRange& range) const;

 private:
  Registry(std::string folder, FileDescriptor lock, std::unique_ptr<FolderBlobStore> blobs)
      : folder_(std::move(folder)), lock_(std::move(lock)), blobs_(std::move(blobs)) {}

  std::string RepositoryPath(const std::string& repository) const;
  std::string TagPath(const std::string& repository, absl::string_view tag) const;
  std::string ManifestPath(const std::string& repository, absl::string_view digest) const;
  absl::Status CheckBlobs(absl::string_view bytes, const std::string& media_type) const;
  absl::StatusOr<std::string> DigestOf(const std::string& repository, const std::string& reference) const;
  absl::Status DeleteTagsOf(const std::string& repository, const std::string& digest);
  std::vector<std::string> TagNames(const std::string& repository) const;

  const std::string folder_;
  const FileDescriptor lock_;
  const std::unique_ptr<FolderBlobStore> blobs_;
  absl::Mutex writing_;  // one change of repositories at a time; readers need none, files change in one step
};

}  // namespace kd

#endif  // KD_SERVER_REGISTRY_REGISTRY_H_
