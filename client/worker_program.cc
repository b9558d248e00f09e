#include "client/worker_program.h"

#include <unistd.h>

#include <filesystem>
#include <iostream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kd {

ExitCode BecomeWorker(std::vector<std::string> arguments) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string worker = (self.parent_path() / "kd-worker").string();
  arguments.insert(arguments.begin(), worker);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::cout.flush();
  ::execv(worker.c_str(), argv.data());
  return ReportError(absl::NotFoundError(absl::StrCat("cannot run ", worker)),
                     "install kd-worker beside kdctl (scripts/build)");
}

}  // namespace kd
