// How a command ends that a person calls: those of kdctl, and of kd-worker what kdctl becomes.
#ifndef KD_BASE_REPORT_ERROR_H_
#define KD_BASE_REPORT_ERROR_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace kd {

// Documented in `kdctl help exit-codes`.
enum ExitCode {
  kExitOk = 0,
  kExitFailed = 1,
  kExitBadInput = 2,
  kExitJobEndedBadly = 3,
  kExitNotAllowed = 4,
  kExitUnreachable = 5,
  kExitInterrupted = 130,
};

// Tells on stderr what went wrong, and as the last line a command to run or a thing to do. Returns the exit code that
// fits.
ExitCode ReportError(const absl::Status& status, absl::string_view remedy);

}  // namespace kd

#endif  // KD_BASE_REPORT_ERROR_H_
