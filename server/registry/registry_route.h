// What a path of the OCI distribution API names.
#ifndef KD_SERVER_REGISTRY_REGISTRY_ROUTE_H_
#define KD_SERVER_REGISTRY_REGISTRY_ROUTE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

enum class RegistryResource {
  kRoot,      // /v2/
  kCatalog,   // /v2/_catalog
  kTags,      // /v2/REPOSITORY/tags/list
  kManifest,  // /v2/REPOSITORY/manifests/TAG-OR-DIGEST
  kBlob,      // /v2/REPOSITORY/blobs/DIGEST
  kUploads,   // /v2/REPOSITORY/blobs/uploads/
  kUpload,    // /v2/REPOSITORY/blobs/uploads/NAME
};

struct RegistryRoute {
  RegistryResource resource = RegistryResource::kRoot;
  std::string repository;
  std::string reference;  // the path's last part where the resource has one; any text
};

// INVALID_ARGUMENT (NAME_INVALID): the repository breaks the rules for names. NOT_FOUND: the API has no such path.
absl::StatusOr<RegistryRoute> ParseRegistryRoute(absl::string_view path);

}  // namespace kd

#endif  // KD_SERVER_REGISTRY_REGISTRY_ROUTE_H_
