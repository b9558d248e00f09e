// What every call of the fleet carries and how its failure is told. Only the fleet's client includes it.
#ifndef KD_CLIENT_FLEET_CALL_H_
#define KD_CLIENT_FLEET_CALL_H_

#include <grpcpp/client_context.h>

#include <iostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/fleet_client.h"

namespace kd {

// True when nobody answered, whatever the reason.
inline bool HasNoAnswer(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
}

// Says who is silent instead of what gRPC calls it.
inline absl::Status Named(const absl::Status& status, absl::string_view who, const std::string& address,
                          absl::Duration deadline) {
  if (absl::IsDeadlineExceeded(status)) {
    return absl::DeadlineExceededError(
        absl::StrCat(who, " at ", address, " did not answer within ", absl::FormatDuration(deadline)));
  }
  if (absl::IsUnavailable(status)) {
    // gRPC's own words, the cause last; anything else is what the other side says.
    absl::string_view cause = status.message();
    const bool silent = absl::StartsWith(cause, "failed to connect") || absl::StartsWith(cause, "connections to all");
    if (silent && absl::StrContains(cause, ": ")) cause.remove_prefix(cause.rfind(": ") + 2);
    return absl::UnavailableError(absl::StrCat(silent ? "cannot reach " : "", who, " at ", address, ": ", cause));
  }
  return status;
}

// What --debug shows of a call.
inline void PrintCall(absl::string_view method, const FleetOptions& options, const absl::Status& status,
                      absl::Time start) {
  if (!options.debug) return;
  std::cerr << absl::StrFormat(
      "debug: %s %s request=%s %s %.1f ms\n", absl::FormatTime("%H:%M:%E3S", start, absl::LocalTimeZone()), method,
      options.request_id, absl::StatusCodeToString(status.code()), absl::ToDoubleMilliseconds(absl::Now() - start));
}

// Sets the deadline and the request id.
inline void Prepare(grpc::ClientContext& context, const FleetOptions& options, absl::Duration deadline) {
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  context.AddMetadata("kd-request-id", options.request_id);
}

}  // namespace kd

#endif  // KD_CLIENT_FLEET_CALL_H_
