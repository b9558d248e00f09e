#include "server/registry/registry_route.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/registry_reference.h"
#include "server/registry/registry_error.h"

namespace kd {
namespace {

// Parts of a repository's name may be called "blobs" or "tags": a path is read from its end.
absl::StatusOr<RegistryRoute> ReadFromTheEnd(const std::vector<std::string>& parts) {
  const size_t n = parts.size();
  const auto route = [&](RegistryResource resource, size_t tail) {
    return RegistryRoute{resource, absl::StrJoin(parts.begin(), parts.end() - tail, "/"), parts[n - 1]};
  };
  if (n > 2 && parts[n - 2] == "manifests") return route(RegistryResource::kManifest, 2);
  if (n > 2 && parts[n - 2] == "tags" && parts[n - 1] == "list") return route(RegistryResource::kTags, 2);
  if (n > 3 && parts[n - 3] == "blobs" && parts[n - 2] == "uploads") {
    return route(parts[n - 1].empty() ? RegistryResource::kUploads : RegistryResource::kUpload, 3);
  }
  if (n > 2 && parts[n - 2] == "blobs") {
    return route(parts[n - 1] == "uploads" ? RegistryResource::kUploads : RegistryResource::kBlob, 2);
  }
  return absl::NotFoundError("the registry has no such path");
}

}  // namespace

absl::StatusOr<RegistryRoute> ParseRegistryRoute(absl::string_view path) {
  if (path == "/v2" || path == "/v2/") return RegistryRoute{RegistryResource::kRoot, "", ""};
  if (path == "/v2/_catalog") return RegistryRoute{RegistryResource::kCatalog, "", ""};
  if (!absl::ConsumePrefix(&path, "/v2/")) return absl::NotFoundError("the registry's paths begin with /v2/");
  absl::StatusOr<RegistryRoute> route = ReadFromTheEnd(absl::StrSplit(path, '/'));
  if (route.ok() && !IsRepositoryName(route->repository)) {
    return WithOciCode(absl::InvalidArgumentError(absl::StrCat(
                           "repository \"", absl::CEscape(route->repository),
                           "\" must be of lower-case letters and digits, with '/', '.', '_' or '-' between them")),
                       "NAME_INVALID");
  }
  return route;
}

}  // namespace kd
