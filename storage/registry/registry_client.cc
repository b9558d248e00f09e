#include "storage/registry/registry_client.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http/http_address.h"
#include "base/status.h"
#include "core/registry_reference.h"
#include "nlohmann/json.hpp"
#include "storage/blobs/blob_digest.h"
#include "storage/blobs/posix_file.h"

namespace kd {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kEmptyConfig = "{}";
// A registry syncs a large file to a slow disk before it answers.
constexpr absl::Duration kSilence = absl::Minutes(2);
constexpr int kPageSize = 1000;
constexpr int kMaxPages = 10000;
constexpr size_t kMaxFileName = 200;

bool IsPlainFileName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxFileName || name == "." || name == "..") return false;
  for (const char c : name) {
    if (c == '/' || c == '\\' || absl::ascii_iscntrl(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

// What the registry says about a refused request.
std::string RefusalText(const HttpAnswer& answer) {
  const Json document = Json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("errors") || !document["errors"].is_array() ||
      document["errors"].empty()) {
    return absl::StrCat("it answers ", answer.status);
  }
  const Json& first = document["errors"][0];
  if (!first.is_object() || !first.contains("message") || !first["message"].is_string())
    return absl::StrCat("it answers ", answer.status);
  return first["message"].get<std::string>();
}

absl::StatusCode CodeOf(int http_status) {
  switch (http_status) {
    case 404:
      return absl::StatusCode::kNotFound;
    case 401:
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 409:
      return absl::StatusCode::kAborted;
    case 413:
    case 507:
      return absl::StatusCode::kResourceExhausted;
    case 429:
    case 502:
    case 503:
      return absl::StatusCode::kUnavailable;
    case 504:
      return absl::StatusCode::kDeadlineExceeded;
    default:
      return http_status >= 500 ? absl::StatusCode::kInternal : absl::StatusCode::kInvalidArgument;
  }
}

// The upload's place with the digest that closes it. Registries answer with a path or a whole URL, some with a query.
std::string ClosingTarget(absl::string_view location, const std::string& url, const std::string& digest) {
  absl::ConsumePrefix(&location, absl::StripSuffix(url, "/"));
  return absl::StrCat(location, absl::StrContains(location, '?') ? "&" : "?", "digest=", PercentEncode(digest));
}

}  // namespace

RegistryClient::RegistryClient(std::string url) : url_(std::move(url)) {}

absl::StatusOr<HttpAnswer> RegistryClient::Send(const HttpCall& call, absl::string_view what) {
  KD_ASSIGN_OR_RETURN(const HttpAddress address, ParseHttpUrl(url_));
  const absl::StatusOr<HttpAnswer> answer = HttpClient(address, {.silence_timeout = kSilence}).Call(call);
  if (!answer.ok()) return Annotate(answer.status(), absl::StrCat("registry: cannot ", what));
  if (answer->status < 400) return answer;
  return absl::Status(CodeOf(answer->status),
                      absl::StrCat("registry ", url_, " cannot ", what, ": ", RefusalText(*answer)));
}

absl::Status RegistryClient::CheckReference(const std::string& repository, const std::string& reference) const {
  if (!IsRepositoryName(repository)) {
    return absl::InvalidArgumentError(
        absl::StrCat("repository \"", absl::CEscape(repository),
                     "\" must be of lower-case letters and digits, with '/', '.', '_' or '-' between them, "
                     "for example students/cp-half"));
  }
  if (!IsTag(reference) && !IsDigest(reference)) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", absl::CEscape(reference), "\" is neither a tag (for example v1) nor a digest (sha256:HEX)"));
  }
  return absl::OkStatus();
}

absl::Status RegistryClient::NoSuchArtifact(const std::string& repository, const std::string& reference) const {
  const absl::string_view url = absl::StripSuffix(url_, "/");
  return absl::NotFoundError(absl::StrCat(RegistryReference{repository, reference}.ToString(),
                                          " is not in the registry at ", url, "; see what is: curl ", url,
                                          "/v2/_catalog, curl ", url, "/v2/", repository, "/tags/list"));
}

absl::StatusOr<std::string> RegistryClient::Resolve(const std::string& repository, const std::string& reference) {
  KD_RETURN_IF_ERROR(CheckReference(repository, reference));
  const std::string what = absl::StrCat("look up ", RegistryReference{repository, reference}.ToString());
  const absl::StatusOr<HttpAnswer> answer =
      Send({.method = "HEAD",
            .target = absl::StrCat("/v2/", repository, "/manifests/", reference),
            .headers = {{"Accept", absl::StrCat(kImageManifestType, ", ", kImageIndexType)}}},
           what);
  if (absl::IsNotFound(answer.status())) return NoSuchArtifact(repository, reference);
  if (!answer.ok()) return answer.status();
  const std::string digest(answer->headers.Get("Docker-Content-Digest"));
  if (!IsDigest(digest)) {
    return absl::InternalError(
        absl::StrCat("registry ", url_, " cannot ", what, ": it names no digest; check that ", url_, " is a registry"));
  }
  return digest;
}

absl::StatusOr<std::string> RegistryClient::Push(const std::string& repository, const std::string& tag,
                                                 const Artifact& artifact) {
  KD_RETURN_IF_ERROR(CheckReference(repository, tag));
  if (!IsTag(tag))
    return absl::InvalidArgumentError(absl::StrCat("\"", tag, "\" is not a tag; push under one, for example v1"));
  if (artifact.files.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("nothing to push as ", repository, ":", tag, ": name at least one file"));

  Manifest manifest;
  manifest.artifact_type = artifact.artifact_type;
  manifest.annotations = artifact.annotations;
  manifest.config = {
      .media_type = std::string(kEmptyConfigType), .digest = Sha256Digest(kEmptyConfig), .size = kEmptyConfig.size()};
  std::set<std::string> names;
  for (const ArtifactFile& file : artifact.files) {
    if (!IsPlainFileName(file.name) || !names.insert(file.name).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "file name \"", absl::CEscape(file.name), "\" is not plain or stands twice; name it like model.safetensors"));
    }
    KD_ASSIGN_OR_RETURN(const std::string digest, Sha256DigestOfFile(file.path));
    std::error_code error;
    const uint64_t size = std::filesystem::file_size(file.path, error);
    if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot measure \"", file.path, "\""));
    manifest.layers.push_back({.media_type = file.media_type,
                               .digest = digest,
                               .size = size,
                               .annotations = {{std::string(kTitleAnnotation), file.name}}});
  }
  KD_RETURN_IF_ERROR(PushBlob(repository, manifest.config.digest, {.body = std::string(kEmptyConfig)}));
  for (size_t i = 0; i < artifact.files.size(); ++i) {
    KD_RETURN_IF_ERROR(PushBlob(repository, manifest.layers[i].digest, {.body_file = artifact.files[i].path}));
  }
  const std::string bytes = ImageManifestJson(manifest);
  KD_RETURN_IF_ERROR(Send({.method = "PUT",
                           .target = absl::StrCat("/v2/", repository, "/manifests/", tag),
                           .headers = {{"Content-Type", std::string(kImageManifestType)}},
                           .body = bytes},
                          absl::StrCat("store ", RegistryReference{repository, tag}.ToString()))
                         .status());
  return Sha256Digest(bytes);
}

absl::StatusOr<bool> RegistryClient::HasBlob(const std::string& repository, const std::string& digest) {
  const absl::StatusOr<HttpAnswer> answer =
      Send({.method = "HEAD", .target = absl::StrCat("/v2/", repository, "/blobs/", digest)},
           absl::StrCat("look up ", digest));
  if (absl::IsNotFound(answer.status())) return false;
  if (!answer.ok()) return answer.status();
  return true;
}

absl::Status RegistryClient::PushBlob(const std::string& repository, const std::string& digest, HttpCall call) {
  KD_ASSIGN_OR_RETURN(const bool is_there, HasBlob(repository, digest));
  if (is_there) return absl::OkStatus();
  const std::string what = absl::StrCat("store ", digest, " of ", repository);
  KD_ASSIGN_OR_RETURN(const HttpAnswer upload,
                      Send({.method = "POST", .target = absl::StrCat("/v2/", repository, "/blobs/uploads/")}, what));
  if (upload.status == 201) return absl::OkStatus();
  call.method = "PUT";
  call.target = ClosingTarget(upload.headers.Get("Location"), url_, digest);
  call.headers.Set("Content-Type", "application/octet-stream");
  return Send(call, what).status();
}

absl::StatusOr<RegistryClient::FetchedManifest> RegistryClient::FetchManifest(const std::string& repository,
                                                                              const std::string& reference) {
  const std::string what = absl::StrCat("read ", RegistryReference{repository, reference}.ToString());
  const absl::StatusOr<HttpAnswer> answer =
      Send({.target = absl::StrCat("/v2/", repository, "/manifests/", reference),
            .headers = {{"Accept", absl::StrCat(kImageManifestType, ", ", kImageIndexType)}}},
           what);
  if (absl::IsNotFound(answer.status())) return NoSuchArtifact(repository, reference);
  if (!answer.ok()) return answer.status();
  const std::string announced(answer->headers.Get("Docker-Content-Digest"));
  const std::string expected = IsDigest(reference)   ? reference
                               : IsDigest(announced) ? announced
                                                     : Sha256Digest(answer->body);
  if (BlobDigest(answer->body, expected) != expected) {
    return absl::DataLossError(absl::StrCat("registry ", url_, " cannot ", what, ": the manifest's bytes do not match ",
                                            expected, "; push the artifact again"));
  }
  const absl::StatusOr<Manifest> manifest = ParseManifest(answer->body, answer->headers.Get("Content-Type"));
  if (!manifest.ok()) return Annotate(manifest.status(), absl::StrCat("registry ", url_, " cannot ", what));
  return FetchedManifest{expected, *manifest};
}

absl::StatusOr<PulledArtifact> RegistryClient::Pull(const std::string& repository, const std::string& reference,
                                                    const std::string& folder) {
  KD_RETURN_IF_ERROR(CheckReference(repository, reference));
  KD_ASSIGN_OR_RETURN(const FetchedManifest fetched, FetchManifest(repository, reference));
  const std::string name = RegistryReference{repository, reference}.ToString();
  if (fetched.manifest.kind != ManifestKind::kImage) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, " is an index of other manifests; pull one of them by its digest"));
  }
  PulledArtifact pulled{
      .digest = fetched.digest,
      .artifact = {.artifact_type = fetched.manifest.artifact_type, .annotations = fetched.manifest.annotations}};
  std::set<std::string> names;
  for (const Descriptor& layer : fetched.manifest.layers) {
    const auto title = layer.annotations.find(std::string(kTitleAnnotation));
    const std::string file = title == layer.annotations.end() ? "" : title->second;
    if (!IsPlainFileName(file) || !names.insert(file).second) {
      return absl::FailedPreconditionError(
          absl::StrCat(name, ": its file name \"", absl::CEscape(file),
                       "\" is missing, stands twice or would leave the folder; nothing was pulled, "
                       "look at it with: skopeo inspect --raw"));
    }
    pulled.artifact.files.push_back(
        {.name = file, .media_type = layer.media_type, .path = absl::StrCat(folder, "/", file)});
  }
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  for (size_t i = 0; i < fetched.manifest.layers.size(); ++i) {
    KD_RETURN_IF_ERROR(Annotate(PullBlob(repository, fetched.manifest.layers[i], pulled.artifact.files[i].path), name));
  }
  return pulled;
}

absl::Status RegistryClient::PullBlob(const std::string& repository, const Descriptor& blob, const std::string& path) {
  const absl::StatusOr<std::string> present = BlobDigestOfFile(path, blob.digest);
  if (present.ok() && *present == blob.digest) return absl::OkStatus();
  absl::Status status = DownloadBlob(repository, blob, path);
  // The registry drops the connection when it finds a blob damaged; asked again, it says so.
  if (absl::IsUnavailable(status)) status = DownloadBlob(repository, blob, path);
  if (!absl::IsNotFound(status)) return status;
  return absl::DataLossError(absl::StrCat(status.message(), "; push the artifact again"));
}

absl::Status RegistryClient::DownloadBlob(const std::string& repository, const Descriptor& blob,
                                          const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  const std::filesystem::path target(path);
  const std::string partial = (target.parent_path() / absl::StrCat(".", target.filename().string(), ".", ::getpid(),
                                                                   ".", counter.fetch_add(1), ".partial"))
                                  .string();
  BlobDigester digester(blob.digest);
  uint64_t size = 0;
  absl::Status status;
  {
    KD_ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(partial, O_WRONLY | O_CREAT | O_TRUNC));
    const auto write = [&](absl::string_view piece) -> absl::Status {
      if (piece.size() > blob.size - size)
        return absl::DataLossError(
            absl::StrCat("registry ", url_, " sends more than the ", blob.size, " bytes of ", blob.digest));
      digester.Update(piece);
      KD_RETURN_IF_ERROR(WriteAt(file, size, piece, partial));
      size += piece.size();
      return absl::OkStatus();
    };
    status = Send({.target = absl::StrCat("/v2/", repository, "/blobs/", blob.digest), .sink = write},
                  absl::StrCat("read ", blob.digest))
                 .status();
    if (status.ok() && (size != blob.size || digester.Finish() != blob.digest)) {
      status = absl::DataLossError(absl::StrCat("registry ", url_, ": what it sends as ", blob.digest,
                                                " has another digest; push the artifact again"));
    }
    if (status.ok()) status = SyncFile(file, partial);
  }
  if (status.ok()) status = RenameDurably(partial, path);
  if (!status.ok()) ::unlink(partial.c_str());
  return status;
}

absl::StatusOr<std::vector<std::string>> RegistryClient::List(const std::string& path, const char* field,
                                                              absl::string_view what) {
  std::vector<std::string> names;
  for (int page = 0; page < kMaxPages; ++page) {
    const std::string last = names.empty() ? "" : absl::StrCat("&last=", PercentEncode(names.back()));
    KD_ASSIGN_OR_RETURN(const HttpAnswer answer, Send({.target = absl::StrCat(path, "?n=", kPageSize, last)}, what));
    const Json document = Json::parse(answer.body, nullptr, /*allow_exceptions=*/false);
    if (!document.is_object() || !document.contains(field) || !document[field].is_array()) {
      return absl::InternalError(absl::StrCat("registry ", url_, " cannot ", what, ": its answer has no list \"", field,
                                              "\"; check that ", url_, " is a registry"));
    }
    const size_t before = names.size();
    for (const Json& name : document[field]) {
      if (name.is_string()) names.push_back(name.get<std::string>());
    }
    if (names.size() == before || answer.headers.Get("Link").empty()) break;
  }
  return names;
}

absl::StatusOr<std::vector<std::string>> RegistryClient::Repositories() {
  return List("/v2/_catalog", "repositories", "list its repositories");
}

absl::StatusOr<std::vector<std::string>> RegistryClient::Tags(const std::string& repository) {
  KD_RETURN_IF_ERROR(CheckReference(repository, "latest"));
  return List(absl::StrCat("/v2/", repository, "/tags/list"), "tags", absl::StrCat("list the tags of ", repository));
}

}  // namespace kd
