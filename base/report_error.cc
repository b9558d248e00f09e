#include "base/report_error.h"

#include <iostream>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/text.h"

namespace kd {

ExitCode ReportError(const absl::Status& status, absl::string_view remedy) {
  // Some messages of libraries have lines of their own; ours end in the remedy, which the eye must find.
  const std::vector<absl::string_view> lines = absl::StrSplit(status.message(), '\n', absl::SkipWhitespace());
  std::cerr << "error: " << OneLine(absl::StrJoin(lines, " ")) << "\n";
  if (!remedy.empty()) std::cerr << "do: " << remedy << "\n";
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
      return kExitBadInput;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitNotAllowed;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kExitUnreachable;
    default:
      return kExitFailed;
  }
}

}  // namespace kd
