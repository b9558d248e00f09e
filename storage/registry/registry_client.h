// Pushes artifacts (weights and what belongs to them) to the registry, and pulls them, over the OCI distribution API.
#ifndef KD_STORAGE_REGISTRY_REGISTRY_CLIENT_H_
#define KD_STORAGE_REGISTRY_REGISTRY_CLIENT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/http/http_client.h"
#include "storage/registry/manifest.h"

namespace kd {

// Type of the artifact that a finished job pushes.
inline constexpr absl::string_view kStudentArtifactType = "application/vnd.kdfleet.student.v1";

struct ArtifactFile {
  std::string name;  // a plain file name, without '/'; annotation org.opencontainers.image.title
  std::string media_type;
  std::string path;  // on this machine
};

struct Artifact {
  std::string artifact_type;
  std::vector<ArtifactFile> files;
  std::map<std::string, std::string> annotations;
};

struct PulledArtifact {
  std::string digest;  // of the manifest
  Artifact artifact;   // its files' paths are where they were written
};

// Blocking; every call has a deadline. Thread-compatible.
//
// Every method: UNAVAILABLE names the address that did not answer; DEADLINE_EXCEEDED names the one that fell silent;
// INVALID_ARGUMENT quotes a URL, repository, tag or digest that cannot be; RESOURCE_EXHAUSTED: the registry's disk is
// full.
class RegistryClient {
 public:
  // "http://127.0.0.1:7071".
  explicit RegistryClient(std::string url);

  // Digest of the manifest that a tag or digest means now. NOT_FOUND names it and says how to list what exists.
  absl::StatusOr<std::string> Resolve(const std::string& repository, const std::string& reference);

  // Stores the artifact under the tag and returns its manifest's digest; the same artifact has the same digest. Files
  // that the registry has are not sent again. INVALID_ARGUMENT: no file, two of one name, or a name that is not plain.
  absl::StatusOr<std::string> Push(const std::string& repository, const std::string& tag, const Artifact& artifact);

  // Writes the artifact's files into `folder`, which is created if it is missing; each file appears whole or not at
  // all, and one that is there with the right digest is kept. NOT_FOUND as for Resolve(). DATA_LOSS: bytes that do not
  // match their digest; nothing is kept of them. FAILED_PRECONDITION: an index, or a file name that would leave the
  // folder.
  absl::StatusOr<PulledArtifact> Pull(const std::string& repository, const std::string& reference,
                                      const std::string& folder);

  // Names in alphabetical order.
  absl::StatusOr<std::vector<std::string>> Repositories();
  // NOT_FOUND: no such repository.
  absl::StatusOr<std::vector<std::string>> Tags(const std::string& repository);

 private:
  struct FetchedManifest {
    std::string digest;
    Manifest manifest;
  };

  // Call() with 4xx and 5xx turned into a status that says `what` failed.
  absl::StatusOr<HttpAnswer> Send(const HttpCall& call, absl::string_view what);
  absl::Status CheckReference(const std::string& repository, const std::string& reference) const;
  absl::Status NoSuchArtifact(const std::string& repository, const std::string& reference) const;
  absl::StatusOr<FetchedManifest> FetchManifest(const std::string& repository, const std::string& reference);
  absl::StatusOr<bool> HasBlob(const std::string& repository, const std::string& digest);
  // Sends `call`'s body as a blob unless it is there.
  absl::Status PushBlob(const std::string& repository, const std::string& digest, HttpCall call);
  absl::Status PullBlob(const std::string& repository, const Descriptor& blob, const std::string& path);
  absl::Status DownloadBlob(const std::string& repository, const Descriptor& blob, const std::string& path);
  // Follows the pages of a listing whose names stand in `field`.
  absl::StatusOr<std::vector<std::string>> List(const std::string& path, const char* field, absl::string_view what);

  const std::string url_;
};

}  // namespace kd

#endif  // KD_STORAGE_REGISTRY_REGISTRY_CLIENT_H_
