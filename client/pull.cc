#include "client/pull.h"

#include <filesystem>
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/output.h"
#include "core/registry_reference.h"
#include "storage/registry/registry_client.h"

namespace kd {

int Pull(const PullOptions& options) {
  const std::string text = absl::StartsWith(options.reference, "registry://")
                               ? options.reference
                               : absl::StrCat("registry://", options.reference);
  const absl::StatusOr<RegistryReference> reference = ParseRegistryReference(text);
  if (!reference.ok()) return ReportError(reference.status(), "kdctl pull registry://students/NAME:v1");

  const std::string& repository = reference->repository;
  const std::string folder = options.out.empty() ? repository.substr(repository.rfind('/') + 1) : options.out;
  const absl::StatusOr<PulledArtifact> pulled =
      RegistryClient(options.registry).Pull(repository, reference->reference, folder);
  if (!pulled.ok()) {
    return ReportError(pulled.status(), absl::StrCat("check the name, and that a registry runs at ", options.registry,
                                                     " (--registry, KD_REGISTRY)"));
  }
  Say(absl::StrCat("pulled ", repository, "@", pulled->digest));
  for (const ArtifactFile& file : pulled->artifact.files) {
    std::error_code error;
    Say(absl::StrCat("  ", file.name, "  ", std::filesystem::file_size(file.path, error), " bytes"));
  }
  std::cout << folder << "\n";
  SayNext(absl::StrCat("kdctl eval model ", folder, " --data ROOT"));
  return kExitOk;
}

}  // namespace kd
