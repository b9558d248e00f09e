#include "base/program.h"

#include <csignal>
#include <iostream>

#include "CLI/CLI.hpp"
#include "base/log.h"
#include "base/text.h"

namespace kd {
namespace {

constexpr int kFailed = 1, kBadInput = 2;

}  // namespace

int RunProgram(CLI::App& app, int argc, char** argv, const std::function<absl::Status()>& run) {
  std::signal(SIGPIPE, SIG_IGN);
  InitLog(app.get_name());
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    std::cerr << "error: " << OneLine(error.what()) << "\ndo: " << app.get_name() << " --help" << std::endl;
    return kBadInput;
  }
  const absl::Status status = run();
  if (status.ok()) return 0;
  LogError(status.message());
  return absl::IsInvalidArgument(status) ? kBadInput : kFailed;
}

}  // namespace kd
