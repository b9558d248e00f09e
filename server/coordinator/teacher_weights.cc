#include "server/coordinator/teacher_weights.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "core/registry_reference.h"
#include "server/coordinator/fleet_names.h"
#include "storage/registry/registry_client.h"

namespace kd {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";

// A folder of its own per call, so that two submits at once don't meet.
absl::StatusOr<std::string> TemporaryFolderIn(const std::string& folder) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  std::string pattern = folder + "/.pull-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) {
    return absl::UnavailableError(absl::StrCat("cannot make a folder in ", folder, ": ", std::strerror(errno)));
  }
  return pattern;
}

absl::StatusOr<std::string> Pull(const std::string& text, const std::string& fleet_folder,
                                 const std::string& registry_url) {
  KD_ASSIGN_OR_RETURN(const RegistryReference reference, ParseRegistryReference(text));
  KD_ASSIGN_OR_RETURN(const std::string folder, TemporaryFolderIn(fleet_folder + "/teachers"));
  const auto remove = absl::MakeCleanup([&folder] {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
  });
  KD_ASSIGN_OR_RETURN(const PulledArtifact pulled,
                      RegistryClient(registry_url).Pull(reference.repository, reference.reference, folder));
  for (const ArtifactFile& file : pulled.artifact.files) {
    if (file.name == kWeightsFile) return ReadFile(file.path);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" holds no ", kWeightsFile, "; name a teacher or student that kdfleet pushed"));
}

}  // namespace

absl::StatusOr<TeacherWeights> ReadTeacherWeights(const v1::TeacherSpec& teacher, const std::string& fleet_folder,
                                                  const std::string& registry_url) {
  const std::string& source = teacher.weights();
  absl::StatusOr<std::string> bytes;
  if (absl::StartsWith(source, "registry://")) {
    bytes = Pull(source, fleet_folder, registry_url);
  } else if (absl::StartsWith(source, "/")) {
    bytes = ReadFile(source);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("teacher.weights \"", source,
                                                   "\" is a relative path, which means nothing to a fleet; "
                                                   "give an absolute one, or registry://REPOSITORY:TAG"));
  }
  if (!bytes.ok()) return Annotate(bytes.status(), "teacher.weights");
  TeacherWeights weights{.digest = Sha256Digest(*bytes)};
  weights.bytes = *std::move(bytes);
  return weights;
}

absl::StatusOr<std::string> KeepTeacherWeights(const TeacherWeights& weights, const std::string& fleet_folder) {
  const std::string path = TeacherWeightsPath(fleet_folder, weights.digest);
  // A copy that was damaged since is written anew.
  if (Sha256DigestOfFile(path).value_or("") == weights.digest) return path;
  KD_RETURN_IF_ERROR(CreateFolders(TeacherFolder(fleet_folder, weights.digest)));
  KD_RETURN_IF_ERROR(WriteFileAtomically(path, weights.bytes));
  return path;
}

}  // namespace kd
