#include "storage/registry/manifest.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/registry_reference.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using Json = nlohmann::json;

constexpr absl::string_view kDockerManifestType = "application/vnd.docker.distribution.manifest.v2+json";
constexpr absl::string_view kDockerIndexType = "application/vnd.docker.distribution.manifest.list.v2+json";
// A size is a 64-bit signed number in the standard.
constexpr uint64_t kMaxSize = INT64_MAX;
constexpr size_t kShownBytes = 100;

absl::Status Invalid(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("manifest: ", field, " ", problem));
}

absl::StatusOr<ManifestKind> KindOf(absl::string_view media_type) {
  if (media_type == kImageManifestType || media_type == kDockerManifestType) return ManifestKind::kImage;
  if (media_type == kImageIndexType || media_type == kDockerIndexType) return ManifestKind::kIndex;
  return absl::InvalidArgumentError(absl::StrCat("media type \"", absl::CEscape(media_type.substr(0, kShownBytes)),
                                                 "\" is not one of a manifest; send it as ", kImageManifestType, " or ",
                                                 kImageIndexType));
}

absl::StatusOr<std::string> OptionalString(const Json& object, const std::string& where, const char* name) {
  const auto found = object.find(name);
  if (found == object.end()) return std::string();
  if (!found->is_string()) return Invalid(absl::StrCat(where, name), "must be a string");
  return found->get<std::string>();
}

absl::StatusOr<std::map<std::string, std::string>> Annotations(const Json& object, const std::string& where) {
  std::map<std::string, std::string> annotations;
  const auto found = object.find("annotations");
  if (found == object.end() || found->is_null()) return annotations;
  if (!found->is_object()) return Invalid(absl::StrCat(where, "annotations"), "must be an object");
  for (const auto& [name, value] : found->items()) {
    if (!value.is_string()) return Invalid(absl::StrCat(where, "annotations"), "must hold strings only");
    annotations[name] = value.get<std::string>();
  }
  return annotations;
}

absl::StatusOr<Descriptor> ParseDescriptor(const Json& object, const std::string& where) {
  if (!object.is_object()) return Invalid(where, "must be an object with mediaType, digest and size");
  Descriptor descriptor;
  KD_ASSIGN_OR_RETURN(descriptor.media_type, OptionalString(object, where + ".", "mediaType"));
  if (descriptor.media_type.empty()) return Invalid(where + ".mediaType", "is missing");
  KD_ASSIGN_OR_RETURN(descriptor.digest, OptionalString(object, where + ".", "digest"));
  if (!IsDigest(descriptor.digest)) {
    return Invalid(where + ".digest", absl::StrCat("is \"", absl::CEscape(descriptor.digest.substr(0, kShownBytes)),
                                                   "\", not sha256: and 64 lower-case hexadecimal digits"));
  }
  const auto size = object.find("size");
  if (size == object.end() || !size->is_number_unsigned() || size->get<uint64_t>() > kMaxSize) {
    return Invalid(where + ".size", "must be a number of bytes");
  }
  descriptor.size = size->get<uint64_t>();
  KD_ASSIGN_OR_RETURN(descriptor.annotations, Annotations(object, where + "."));
  return descriptor;
}

absl::StatusOr<std::vector<Descriptor>> ParseDescriptors(const Json& object, const std::string& name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_array()) return Invalid(name, "must be a list");
  std::vector<Descriptor> descriptors;
  for (size_t i = 0; i < found->size(); ++i) {
    KD_ASSIGN_OR_RETURN(Descriptor descriptor, ParseDescriptor((*found)[i], absl::StrCat(name, "[", i, "]")));
    descriptors.push_back(std::move(descriptor));
  }
  return descriptors;
}

Json ToJson(const Descriptor& descriptor) {
  Json object = {{"mediaType", descriptor.media_type}, {"digest", descriptor.digest}, {"size", descriptor.size}};
  if (!descriptor.annotations.empty()) object["annotations"] = descriptor.annotations;
  return object;
}

}  // namespace

bool IsNonDistributable(const Descriptor& layer) {
  return absl::StartsWith(layer.media_type, "application/vnd.oci.image.layer.nondistributable.") ||
         absl::StartsWith(layer.media_type, "application/vnd.docker.image.rootfs.foreign.");
}

absl::StatusOr<Manifest> ParseManifest(absl::string_view bytes, absl::string_view media_type) {
  Manifest manifest;
  KD_ASSIGN_OR_RETURN(manifest.kind, KindOf(media_type));
  const Json document = Json::parse(bytes.begin(), bytes.end(), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return absl::InvalidArgumentError("manifest: the bytes are not a JSON object");
  const auto version = document.find("schemaVersion");
  if (version == document.end() || *version != 2) return Invalid("schemaVersion", "must be 2");
  KD_ASSIGN_OR_RETURN(const std::string own_type, OptionalString(document, "", "mediaType"));
  if (!own_type.empty() && own_type != media_type) {
    return Invalid("mediaType", absl::StrCat("is \"", absl::CEscape(own_type.substr(0, kShownBytes)),
                                             "\" but it was sent as ", media_type));
  }
  KD_ASSIGN_OR_RETURN(manifest.artifact_type, OptionalString(document, "", "artifactType"));
  KD_ASSIGN_OR_RETURN(manifest.annotations, Annotations(document, ""));
  if (const auto subject = document.find("subject"); subject != document.end() && !subject->is_null()) {
    KD_RETURN_IF_ERROR(ParseDescriptor(*subject, "subject").status());
  }
  if (manifest.kind == ManifestKind::kIndex) {
    KD_ASSIGN_OR_RETURN(manifest.manifests, ParseDescriptors(document, "manifests"));
    return manifest;
  }
  const auto config = document.find("config");
  if (config == document.end()) return Invalid("config", "is missing");
  KD_ASSIGN_OR_RETURN(manifest.config, ParseDescriptor(*config, "config"));
  KD_ASSIGN_OR_RETURN(manifest.layers, ParseDescriptors(document, "layers"));
  return manifest;
}

std::string ImageManifestJson(const Manifest& manifest) {
  Json document = {{"schemaVersion", 2},
                   {"mediaType", std::string(kImageManifestType)},
                   {"config", ToJson(manifest.config)},
                   {"layers", Json::array()}};
  if (!manifest.artifact_type.empty()) document["artifactType"] = manifest.artifact_type;
  for (const Descriptor& layer : manifest.layers) document["layers"].push_back(ToJson(layer));
  if (!manifest.annotations.empty()) document["annotations"] = manifest.annotations;
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kd
