// How a program without a terminal's manners begins and ends: servers and workers. (kdctl has its own, client/.)
#ifndef KD_BASE_PROGRAM_H_
#define KD_BASE_PROGRAM_H_

#include <functional>

#include "absl/status/status.h"

namespace CLI {
class App;
}

namespace kd {

// Begins the log under the app's name, reads the command line into its options and calls `run`. Returns the exit code:
// 0, 2 for a bad flag (told with the remedy on stderr) or INVALID_ARGUMENT, and 1 for any other error, which is logged.
// Writing to a peer that has gone is an error of that write, not the program's end (SIGPIPE is ignored).
int RunProgram(CLI::App& app, int argc, char** argv, const std::function<absl::Status()>& run);

}  // namespace kd

#endif  // KD_BASE_PROGRAM_H_
