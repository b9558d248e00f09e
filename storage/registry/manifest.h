// OCI manifests (image-spec 1.1): what the registry checks and its client reads and writes.
#ifndef KD_STORAGE_REGISTRY_MANIFEST_H_
#define KD_STORAGE_REGISTRY_MANIFEST_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

inline constexpr absl::string_view kImageManifestType = "application/vnd.oci.image.manifest.v1+json";
inline constexpr absl::string_view kImageIndexType = "application/vnd.oci.image.index.v1+json";
inline constexpr absl::string_view kEmptyConfigType = "application/vnd.oci.empty.v1+json";
inline constexpr absl::string_view kTitleAnnotation = "org.opencontainers.image.title";
inline constexpr uint64_t kMaxManifestBytes = 4 << 20;

// Points at a blob or at another manifest.
struct Descriptor {
  std::string media_type;
  std::string digest;
  uint64_t size = 0;
  std::map<std::string, std::string> annotations;
};

enum class ManifestKind {
  kImage,  // has a config and layers, which are blobs
  kIndex,  // lists other manifests
};

struct Manifest {
  ManifestKind kind = ManifestKind::kImage;
  std::string artifact_type;
  Descriptor config;                  // of an image
  std::vector<Descriptor> layers;     // of an image
  std::vector<Descriptor> manifests;  // of an index
  std::map<std::string, std::string> annotations;
};

// True for a layer that its licence keeps out of registries: its blob need not exist here.
bool IsNonDistributable(const Descriptor& layer);

// Reads a manifest that was sent as `media_type` (OCI's or Docker's, image or index).
// INVALID_ARGUMENT: another media type, one that contradicts the manifest's own, bytes that are not JSON, a field that
// is missing or of the wrong type, a digest or size that cannot be. Names the field.
absl::StatusOr<Manifest> ParseManifest(absl::string_view bytes, absl::string_view media_type);

// The JSON of an image manifest; equal manifests give equal bytes.
std::string ImageManifestJson(const Manifest& manifest);

}  // namespace kd

#endif  // KD_STORAGE_REGISTRY_MANIFEST_H_
