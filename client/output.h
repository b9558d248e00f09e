// How kdctl speaks: data on stdout, talk on stderr, errors in at most three lines that end in a remedy.
#ifndef KD_CLIENT_OUTPUT_H_
#define KD_CLIENT_OUTPUT_H_

#include <string>

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

extern const char kExitCodesHelp[];

// What went wrong, and as the last line a command to run or a thing to do. Returns the exit code that fits.
ExitCode ReportError(const absl::Status& status, absl::string_view remedy);

// One line of talk.
void Say(absl::string_view text);

// The last line of a command: the one to run next.
void SayNext(absl::string_view command);

// True when stderr is a terminal, so that a bar may redraw itself.
bool TalksToATerminal();

// True when stdout is a terminal and NO_COLOR is not set.
bool MayColour();

}  // namespace kd

#endif  // KD_CLIENT_OUTPUT_H_
