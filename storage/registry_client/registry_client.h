// Pulls and pushes artifacts over the OCI distribution API.
#ifndef KD_STORAGE_REGISTRY_CLIENT_H_
#define KD_STORAGE_REGISTRY_CLIENT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace kd {

// "students/cp-half:v1", "students/cp-half@sha256:...", with or without "registry://".
struct ArtifactRef {
  std::string repository;
  std::string reference;  // tag or digest; "latest" when absent

  std::string ToString() const;
};
// INVALID_ARGUMENT quoting the text and a right form.
absl::StatusOr<ArtifactRef> ParseArtifactRef(absl::string_view text);

struct ArtifactFile {
  std::string name;        // "model.safetensors"; title annotation of its layer
  std::string path;        // where it lies on this machine
  std::string media_type;  // "application/vnd.kdfleet.weights.v1+safetensors", ...
};

struct ArtifactInfo {
  std::string manifest_digest;
  std::string manifest_json;
  std::map<std::string, std::string> annotations;
  struct Layer {
    std::string name, digest, media_type;
    uint64_t size;
  };
  std::vector<Layer> layers;
};

// Thread-safe; every call opens its own connection and ends by `timeout`.
class RegistryClient {
 public:
  // `base_url` such as "http://127.0.0.1:7071".
  explicit RegistryClient(std::string base_url, absl::Duration timeout = absl::Minutes(5));

  // NOT_FOUND: no such repository, tag or digest. UNAVAILABLE: nobody answers there.
  absl::StatusOr<ArtifactInfo> Resolve(const ArtifactRef& ref) const;

  // Downloads every layer into `folder` under its name and checks digests. DATA_LOSS: a digest does not match; nothing
  // of it is kept.
  absl::StatusOr<ArtifactInfo> Pull(const ArtifactRef& ref, const std::string& folder) const;

  // Uploads missing blobs, then the manifest; returns it with its digest. `config_json` becomes the config blob.
  absl::StatusOr<ArtifactInfo> Push(const ArtifactRef& ref, const std::vector<ArtifactFile>& files,
                                    const std::string& config_json,
                                    const std::map<std::string, std::string>& annotations) const;

 private:
  const std::string base_url_;
  const absl::Duration timeout_;
};

}  // namespace kd

#endif  // KD_STORAGE_REGISTRY_CLIENT_H_
