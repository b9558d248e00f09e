#include "base/program.h"

#include <csignal>

#include "CLI/CLI.hpp"
#include "base/log.h"
#include "base/report_error.h"

namespace kd {

int RunProgram(CLI::App& app, int argc, char** argv, const std::function<absl::Status()>& run) {
  std::signal(SIGPIPE, SIG_IGN);
  InitLog(app.get_name());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return ReportError(absl::InvalidArgumentError(error.what()), app.get_name() + " --help");
  }
  const absl::Status status = run();
  if (status.ok()) return 0;
  LogError(status.message());
  return absl::IsInvalidArgument(status) ? kExitBadInput : kExitFailed;
}

}  // namespace kd
