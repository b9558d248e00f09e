#include "client/output.h"

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/text.h"

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

void Say(absl::string_view text) { std::cerr << text << "\n"; }

void SayNext(absl::string_view command) { std::cerr << "next: " << command << "\n"; }

bool TalksToATerminal() { return ::isatty(STDERR_FILENO) == 1; }

bool MayColour() {
  const char* off = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (off == nullptr || *off == '\0');
}

}  // namespace kd
