// Errors of the registry, as OCI distribution clients know them.
#ifndef KD_SERVER_REGISTRY_REGISTRY_ERROR_H_
#define KD_SERVER_REGISTRY_REGISTRY_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/http/http_message.h"

namespace kd {

// `status` with the standard's error code ("BLOB_UNKNOWN", "DIGEST_INVALID" ...) attached, unless it is OK or has one.
absl::Status WithOciCode(absl::Status status, absl::string_view oci_code);

// The standard's JSON, {"errors": [{"code", "message"}]}, under the HTTP status that belongs to the status' code.
// `status` is not OK.
HttpResponse ErrorResponse(const absl::Status& status);

}  // namespace kd

#endif  // KD_SERVER_REGISTRY_REGISTRY_ERROR_H_
