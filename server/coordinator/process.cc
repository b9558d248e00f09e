#include "server/coordinator/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

extern char** environ;

namespace kd {
namespace {

std::string DescribeEnd(int status) {
  if (WIFSIGNALED(status))
    return absl::StrCat("was killed by signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  return absl::StrCat("exited with code ", WEXITSTATUS(status));
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& additions) {
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!additions.contains(text.substr(0, text.find('=')))) environment.push_back(text);
  }
  for (const auto& [name, value] : additions) environment.push_back(absl::StrCat(name, "=", value));
  return environment;
}

}  // namespace

absl::StatusOr<ProcessId> IdentifyProcess(int64_t pid) {
  // "PID (NAME) STATE PPID ...": the name may hold anything, also spaces and parentheses.
  const std::string stat = ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  const size_t name_end = stat.rfind(") ");
  const std::vector<std::string> fields =
      absl::StrSplit(name_end == std::string::npos ? "" : stat.substr(name_end + 2), ' ');
  ProcessId process{.pid = pid};
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X" ||
      !absl::SimpleAtoi(fields[19], &process.start_ticks)) {
    return absl::NotFoundError(absl::StrCat("process ", pid, " has ended"));
  }
  process.boot_id = ReadFile("/proc/sys/kernel/random/boot_id").value_or("");
  absl::StripTrailingAsciiWhitespace(&process.boot_id);
  return process;
}

absl::StatusOr<ProcessId> LocalLauncher::Start(const ProcessSpec& spec) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  for (const int signal : {SIGINT, SIGTERM, SIGPIPE}) sigaddset(&defaults, signal);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> arguments = spec.arguments, environment = Environment(spec.environment);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, arguments[0].c_str(), &actions, &attributes, Pointers(arguments).data(),
                                Pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot start ", arguments[0], " (log ", spec.log_path, "): ", strerror(error)));
  }
  absl::StatusOr<ProcessId> process = IdentifyProcess(pid);
  // It has ended already; Poll() tells how.
  if (!process.ok()) return ProcessId{.pid = pid};
  return process;
}

std::optional<std::string> LocalLauncher::Poll(const ProcessId& process) {
  int status = 0;
  const pid_t reaped = ::waitpid(static_cast<pid_t>(process.pid), &status, WNOHANG);
  if (reaped == process.pid) return DescribeEnd(status);
  if (reaped == 0) return std::nullopt;
  // Not a child: started by an earlier coordinator.
  const absl::StatusOr<ProcessId> now = IdentifyProcess(process.pid);
  if (now.ok() && *now == process) return std::nullopt;
  return "ended";
}

absl::StatusOr<ProcessId> LocalLauncher::Find(int64_t pid, const std::vector<std::string>& arguments) {
  KD_ASSIGN_OR_RETURN(ProcessId process, IdentifyProcess(pid));
  // Every argument ends in a zero byte.
  const std::string command_line = ReadFile(absl::StrCat("/proc/", pid, "/cmdline")).value_or("");
  const std::string wanted =
      absl::StrCat(absl::StrJoin(arguments, absl::string_view("\0", 1)), absl::string_view("\0", 1));
  if (!absl::StartsWith(command_line, wanted)) {
    return absl::NotFoundError(absl::StrCat("process ", pid, " is not \"", absl::StrJoin(arguments, " "), "\""));
  }
  return process;
}

void LocalLauncher::Signal(const ProcessId& process, int signal) {
  const absl::StatusOr<ProcessId> now = IdentifyProcess(process.pid);
  if (now.ok() && *now == process) ::kill(static_cast<pid_t>(process.pid), signal);
}

}  // namespace kd
