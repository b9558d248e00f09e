#include "client/output.h"

#include <unistd.h>

#include <iostream>

namespace kd {

const char kExitCodesHelp[] =
    "0    done\n"
    "1    failed\n"
    "2    bad input: flags, a job file, a file of yours\n"
    "3    the job ended badly\n"
    "4    not allowed\n"
    "5    the fleet or the registry cannot be reached\n"
    "130  interrupted\n";

ExitCode ReportError(const absl::Status& status, absl::string_view remedy) {
  std::cerr << "error: " << status.message() << "\n";
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

void Say(absl::string_view text) { std::cerr << text << "\n"; }

bool TalksToATerminal() { return ::isatty(STDERR_FILENO) == 1; }

}  // namespace kd
