#include "server/registry/registry.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/status.h"
#include "core/registry_reference.h"
#include "server/registry/registry_error.h"
#include "storage/blobs/blob_digest.h"
#include "storage/registry/manifest.h"

namespace kd {
namespace {

constexpr absl::string_view kTagSuffix = ".tag";
constexpr uint64_t kMaxLinkBytes = 4096;

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  return names;
}

NamePage PageOf(std::vector<std::string> names, const NameRange& range) {
  std::sort(names.begin(), names.end());
  const auto first = range.last.empty() ? names.begin() : std::upper_bound(names.begin(), names.end(), range.last);
  const size_t size = std::min<size_t>(range.limit, names.end() - first);
  return {.names = std::vector<std::string>(first, first + size), .more = first + size != names.end()};
}

absl::Status UnknownManifest(const std::string& repository, const std::string& reference) {
  return WithOciCode(
      absl::NotFoundError(absl::StrCat("\"", absl::CEscape(reference), "\" is no tag or manifest of ", repository,
                                       "; GET /v2/", repository, "/tags/list names its tags")),
      "MANIFEST_UNKNOWN");
}

// A file of one line. NOT_FOUND: no such file.
absl::StatusOr<std::string> ReadLine(const std::string& path) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxLinkBytes));
  return std::string(absl::StripAsciiWhitespace(text));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Registry>> Registry::Open(const std::string& folder, const Clock& clock) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  KD_ASSIGN_OR_RETURN(FileDescriptor lock, OpenFile(absl::StrCat(folder, "/lock"), O_WRONLY | O_CREAT));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("another process serves \"", folder, "\"; stop it, or choose another folder"));
  }
  KD_ASSIGN_OR_RETURN(std::unique_ptr<FolderBlobStore> blobs, FolderBlobStore::Open({.folder = folder}, clock));
  KD_RETURN_IF_ERROR(CreateFolderDurably(absl::StrCat(folder, "/repositories")));
  return std::unique_ptr<Registry>(new Registry(folder, std::move(lock), std::move(blobs)));
}

std::string Registry::RepositoryPath(const std::string& repository) const {
  return absl::StrCat(folder_, "/repositories/", absl::StrReplaceAll(repository, {{"/", "+"}}));
}

std::string Registry::TagPath(const std::string& repository, absl::string_view tag) const {
  return absl::StrCat(RepositoryPath(repository), "/tags/", tag, kTagSuffix);
}

std::string Registry::ManifestPath(const std::string& repository, absl::string_view digest) const {
  return absl::StrCat(RepositoryPath(repository), "/manifests/", absl::StrReplaceAll(digest, {{":", "-"}}));
}

absl::Status Registry::CheckBlobs(absl::string_view bytes, const std::string& media_type) const {
  const absl::StatusOr<Manifest> manifest = ParseManifest(bytes, media_type);
  if (!manifest.ok()) return WithOciCode(manifest.status(), "MANIFEST_INVALID");
  if (manifest->kind == ManifestKind::kIndex) return absl::OkStatus();  // The standard allows sparse ones.
  std::vector<Descriptor> needed = {manifest->config};
  std::copy_if(manifest->layers.begin(), manifest->layers.end(), std::back_inserter(needed),
               [](const Descriptor& layer) { return !IsNonDistributable(layer); });
  for (const Descriptor& descriptor : needed) {
    const auto blob = blobs_->Find(descriptor.digest);
    if (!blob.ok()) {
      return WithOciCode(absl::FailedPreconditionError(
                             absl::StrCat("manifest: its blob ", descriptor.digest, " is not here; push it first")),
                         "MANIFEST_BLOB_UNKNOWN");
    }
    if (blob->size != descriptor.size) {
      return WithOciCode(absl::FailedPreconditionError(absl::StrCat("manifest: its blob ", descriptor.digest, " has ",
                                                                    blob->size, " bytes, not ", descriptor.size,
                                                                    " as it says; write the right size")),
                         "MANIFEST_BLOB_UNKNOWN");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Registry::PutManifest(const std::string& repository, const std::string& reference,
                                                  const std::string& media_type, const std::string& bytes) {
  if (!IsTag(reference) && !IsDigest(reference)) {
    return WithOciCode(absl::InvalidArgumentError(absl::StrCat("\"", absl::CEscape(reference),
                                                               "\" is neither a tag, for example v1, nor a digest")),
                       "MANIFEST_INVALID");
  }
  const std::string digest = BlobDigest(bytes, reference);
  if (IsDigest(reference) && digest != reference) {
    return WithOciCode(absl::InvalidArgumentError(absl::StrCat("the manifest sent as ", reference, " has the digest ",
                                                               digest, "; send it again")),
                       "DIGEST_INVALID");
  }
  KD_RETURN_IF_ERROR(CheckBlobs(bytes, media_type));
  KD_RETURN_IF_ERROR(blobs_->Put(digest, bytes));
  absl::MutexLock lock(&writing_);
  const std::string path = RepositoryPath(repository);
  for (const std::string& folder : {path, path + "/manifests", path + "/tags"})
    KD_RETURN_IF_ERROR(CreateFolderDurably(folder));
  KD_RETURN_IF_ERROR(WriteFileAtomically(ManifestPath(repository, digest), media_type + "\n"));
  if (IsTag(reference)) KD_RETURN_IF_ERROR(WriteFileAtomically(TagPath(repository, reference), digest + "\n"));
  return digest;
}

absl::StatusOr<std::string> Registry::DigestOf(const std::string& repository, const std::string& reference) const {
  if (IsDigest(reference)) return reference;
  if (!IsTag(reference)) return UnknownManifest(repository, reference);
  const absl::StatusOr<std::string> digest = ReadLine(TagPath(repository, reference));
  if (absl::IsNotFound(digest.status())) return UnknownManifest(repository, reference);
  if (digest.ok() && !IsDigest(*digest)) {
    return absl::DataLossError(
        absl::StrCat("the file of tag ", reference, " of ", repository, " is damaged; push the tag again"));
  }
  return digest;
}

absl::StatusOr<StoredManifest> Registry::GetManifest(const std::string& repository, const std::string& reference) {
  StoredManifest manifest;
  KD_ASSIGN_OR_RETURN(manifest.digest, DigestOf(repository, reference));
  const absl::StatusOr<std::string> media_type = ReadLine(ManifestPath(repository, manifest.digest));
  if (absl::IsNotFound(media_type.status())) return UnknownManifest(repository, reference);
  if (!media_type.ok()) return media_type.status();
  manifest.media_type = *media_type;
  absl::StatusOr<std::string> bytes = blobs_->Read(manifest.digest, kMaxManifestBytes);
  if (absl::IsNotFound(bytes.status())) {
    return absl::DataLossError(absl::StrCat("the bytes of manifest ", manifest.digest, " are lost; push ", repository,
                                            " ", reference, " again"));
  }
  if (!bytes.ok()) return bytes.status();
  manifest.bytes = *std::move(bytes);
  return manifest;
}

absl::Status Registry::DeleteTagsOf(const std::string& repository, const std::string& digest) {
  for (const std::string& tag : TagNames(repository)) {
    const std::string path = TagPath(repository, tag);
    KD_ASSIGN_OR_RETURN(const std::string named, ReadLine(path));
    if (named == digest) KD_RETURN_IF_ERROR(RemoveDurably(path));
  }
  return absl::OkStatus();
}

absl::Status Registry::DeleteManifest(const std::string& repository, const std::string& reference) {
  if (!IsTag(reference) && !IsDigest(reference)) return UnknownManifest(repository, reference);
  absl::MutexLock lock(&writing_);
  if (IsDigest(reference)) KD_RETURN_IF_ERROR(DeleteTagsOf(repository, reference));
  const absl::Status removed =
      RemoveDurably(IsTag(reference) ? TagPath(repository, reference) : ManifestPath(repository, reference));
  return absl::IsNotFound(removed) ? UnknownManifest(repository, reference) : removed;
}

std::vector<std::string> Registry::TagNames(const std::string& repository) const {
  std::vector<std::string> tags;
  for (const std::string& file : NamesIn(RepositoryPath(repository) + "/tags")) {
    absl::string_view tag = file;
    if (absl::ConsumeSuffix(&tag, kTagSuffix)) tags.emplace_back(tag);
  }
  return tags;
}

absl::StatusOr<NamePage> Registry::Tags(const std::string& repository, const NameRange& range) const {
  std::error_code ignored;
  if (!std::filesystem::exists(RepositoryPath(repository), ignored)) {
    return WithOciCode(absl::NotFoundError(absl::StrCat("repository ", repository,
                                                        " is not here; GET /v2/_catalog names those that are")),
                       "NAME_UNKNOWN");
  }
  return PageOf(TagNames(repository), range);
}

absl::StatusOr<NamePage> Registry::Repositories(const NameRange& range) const {
  std::vector<std::string> repositories;
  for (const std::string& name : NamesIn(folder_ + "/repositories")) {
    const std::vector<std::string> manifests = NamesIn(absl::StrCat(folder_, "/repositories/", name, "/manifests"));
    const bool has_manifest = std::any_of(manifests.begin(), manifests.end(), [](const std::string& manifest) {
      return IsDigest(absl::StrReplaceAll(manifest, {{"-", ":"}}));
    });
    if (has_manifest) repositories.push_back(absl::StrReplaceAll(name, {{"+", "/"}}));
  }
  return PageOf(std::move(repositories), range);
}

}  // namespace kd
