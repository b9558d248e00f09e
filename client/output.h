// How kdctl speaks: data on stdout, talk on stderr, errors in at most three lines that end in a remedy.
#ifndef KD_CLIENT_OUTPUT_H_
#define KD_CLIENT_OUTPUT_H_

#include "absl/strings/string_view.h"
#include "base/report_error.h"

namespace kd {

extern const char kExitCodesHelp[];

// One line of talk.
void Say(absl::string_view text);

// The last line of a command: the one to run next.
void SayNext(absl::string_view command);

// True when stdout is a terminal and NO_COLOR is not set.
bool MayColour();

}  // namespace kd

#endif  // KD_CLIENT_OUTPUT_H_
