// kdctl watch and wait.
#include <unistd.h>

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "client/follow.h"
#include "client/session.h"
#include "core/job_state.h"

namespace kd {
namespace {

struct WaitFlags {
  std::string id, state = "SUCCEEDED", timeout;
};

absl::StatusOr<v1::JobState> ParseState(absl::string_view text) {
  absl::ConsumePrefix(&text, "state=");
  std::vector<std::string> names;
  for (int i = v1::JOB_STATE_QUEUED; i <= v1::JOB_STATE_CANCELLED; ++i) {
    const auto state = static_cast<v1::JobState>(i);
    names.push_back(JobStateName(state));
    if (absl::AsciiStrToUpper(text) == names.back()) return state;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--for is \"", text, "\", expected one of ", absl::StrJoin(names, ", ")));
}

int Wait(const WaitFlags& flags, Session& session) {
  const absl::StatusOr<v1::JobState> state = ParseState(flags.state);
  if (!state.ok()) return ReportError(state.status(), "kdctl wait JOB --for SUCCEEDED");
  FollowOptions options{.until = *state, .out = &std::cerr, .every = absl::Seconds(10)};
  if (!flags.timeout.empty() &&
      (!absl::ParseDuration(flags.timeout, &options.timeout) || options.timeout <= absl::ZeroDuration())) {
    return ReportError(
        absl::InvalidArgumentError(absl::StrCat("--timeout is \"", flags.timeout, "\", expected a duration")),
        "kdctl wait JOB --timeout 10m");
  }
  FleetClient fleet(session.fleet);
  return FollowJob(fleet, flags.id, options);
}

int Watch(const std::string& id, Session& session) {
  FleetClient fleet(session.fleet);
  return FollowJob(fleet, id, {.out = &std::cout, .redraw = ::isatty(STDOUT_FILENO) == 1});
}

}  // namespace

void AddFollowCommands(CLI::App& app, Session& session) {
  const auto id = std::make_shared<std::string>();
  CLI::App* watch = app.add_subcommand("watch", "Follow a job until it ends; Ctrl-C detaches")->group("Jobs");
  watch->add_option("JOB", *id, "Job id")->required();
  watch->callback([&session, id] { session.exit_code = Watch(*id, session); });

  const auto flags = std::make_shared<WaitFlags>();
  CLI::App* wait = app.add_subcommand("wait", "Wait for a state of a job")->group("Jobs");
  wait->add_option("JOB", flags->id, "Job id")->required();
  wait->add_option("--for", flags->state, "State to wait for, such as RUNNING")->capture_default_str();
  wait->add_option("--timeout", flags->timeout, "Such as 10m or 1h30m; default: for ever");
  wait->callback([&session, flags] { session.exit_code = Wait(*flags, session); });
}

}  // namespace kd
