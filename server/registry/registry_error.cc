#include "server/registry/registry_error.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/types/optional.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

constexpr absl::string_view kOciCode = "kdfleet/oci-code";

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kInvalidArgument:
      return 400;
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
      return 404;  // The standard's answer to a manifest without its blobs.
    case absl::StatusCode::kUnimplemented:
      return 405;
    case absl::StatusCode::kAborted:
      return 409;
    case absl::StatusCode::kOutOfRange:
      return 416;
    case absl::StatusCode::kUnavailable:
      return 429;
    case absl::StatusCode::kResourceExhausted:
      return 507;
    default:
      return 500;
  }
}

absl::string_view DefaultOciCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnimplemented:
      return "UNSUPPORTED";
    case absl::StatusCode::kUnavailable:
      return "TOOMANYREQUESTS";
    default:
      return "UNKNOWN";
  }
}

}  // namespace

absl::Status WithOciCode(absl::Status status, absl::string_view oci_code) {
  if (!status.ok() && !status.GetPayload(kOciCode)) status.SetPayload(kOciCode, absl::Cord(oci_code));
  return status;
}

HttpResponse ErrorResponse(const absl::Status& status) {
  const absl::optional<absl::Cord> code = status.GetPayload(kOciCode);
  const std::string oci_code = code ? std::string(*code) : std::string(DefaultOciCode(status.code()));
  const nlohmann::json document = {{"errors", {{{"code", oci_code}, {"message", std::string(status.message())}}}}};
  return {.status = HttpStatusOf(status.code()),
          .headers = {{"Content-Type", "application/json"}},
          .body = document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

}  // namespace kd
