// Names in the registry: "registry://students/cp-half:v1" and the rules for their parts (OCI distribution 1.1).
#ifndef KD_CORE_REGISTRY_REFERENCE_H_
#define KD_CORE_REGISTRY_REFERENCE_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct RegistryReference {
  std::string repository;  // "students/cp-half"
  std::string reference;   // a tag, "v1", or a digest, "sha256:..."

  // "registry://students/cp-half:v1", "registry://students/cp-half@sha256:...".
  std::string ToString() const;
};

// Reads "registry://REPOSITORY:TAG" or "registry://REPOSITORY@DIGEST".
// INVALID_ARGUMENT quotes `text`, names the broken rule and shows a right form.
absl::StatusOr<RegistryReference> ParseRegistryReference(absl::string_view text);

// Parts joined by '/', each of lower-case letters and digits, with single '.', '_', "__" or dashes between them; at
// most 255 characters.
bool IsRepositoryName(absl::string_view name);

// Letters, digits, '_', '.', '-'; the first is none of the last two; at most 128 characters.
bool IsTag(absl::string_view tag);

// "sha256:" and 64, or "sha512:" and 128, lower-case hexadecimal digits.
bool IsDigest(absl::string_view digest);

}  // namespace kd

#endif  // KD_CORE_REGISTRY_REFERENCE_H_
