// kdctl: the command line of kdfleet.
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/session.h"
#include "core/field_rules.h"

namespace kd {
namespace {

constexpr char kDescription[] =
    "Distils 3D object detectors\n"
    "\n"
    "Examples:\n"
    "  kdctl data simulate --out out/sim             make a data set to play with\n"
    "  kdctl validate examples/student-sim-all.yaml  check a job file\n"
    "  kdctl submit examples/student-sim-all.yaml    give it to the fleet\n"
    "  kdctl explain pair.distill                    what may stand in it\n";

// The command that the person was writing: the innermost one that was recognised.
const CLI::App& Innermost(const CLI::App& app) {
  const std::vector<CLI::App*> parsed = app.get_subcommands();
  return parsed.empty() ? app : Innermost(*parsed.back());
}

std::string FullName(const CLI::App& app) {
  return app.get_parent() == nullptr ? "kdctl" : absl::StrCat(FullName(*app.get_parent()), " ", app.get_name());
}

// "; did you mean ..." for a misspelt command.
std::string Hint(const CLI::App& app, const std::vector<std::string>& words) {
  std::vector<std::string> names;
  for (const CLI::App* command :
       app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); })) {
    names.push_back(command->get_name());
  }
  for (const std::string& word : words) {
    const std::string near = Nearest(word, names);
    if (!near.empty() && near != word) return absl::StrCat("; did you mean \"", near, "\"?");
  }
  return "";
}

ExitCode ReportParseError(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App& command = Innermost(app);
  return ReportError(absl::InvalidArgumentError(absl::StrCat(error.what(), Hint(command, app.remaining(true)))),
                     absl::StrCat(FullName(command), " --help"));
}

int Help(const CLI::App& app, const std::vector<std::string>& topic) {
  if (topic == std::vector<std::string>{"exit-codes"}) {
    std::cout << kExitCodesHelp;
    return kExitOk;
  }
  const CLI::App* command = &app;
  for (const std::string& word : topic) {
    const auto found = command->get_subcommands([&word](const CLI::App* next) { return next->check_name(word); });
    if (found.empty()) {
      return ReportError(absl::InvalidArgumentError(
                             absl::StrCat("no help on \"", absl::StrJoin(topic, " "), "\"", Hint(*command, {word}))),
                         absl::StrCat(FullName(*command), " --help, or kdctl help exit-codes"));
    }
    command = found.front();
  }
  // help() of a program that is running a command is that command's.
  std::cout << command->get_formatter()->make_help(command, FullName(*command), CLI::AppFormatMode::Normal);
  return kExitOk;
}

int Main(int argc, char** argv) {
  Session session;
  CLI::App app{kDescription, "kdctl"};
  app.footer("Exit codes: kdctl help exit-codes");
  app.require_subcommand(1);
  // The flags of every command may stand behind it.
  app.fallthrough();
  app.add_option("--address", session.fleet.address, "HOST:PORT of the fleet")
      ->envname("KD_ADDRESS")
      ->capture_default_str();
  app.add_flag("--debug", session.fleet.debug,
               "Print every call of the fleet with its request id and duration on stderr");

  AddSubmitCommand(app, session);
  AddJobCommands(app, session);
  AddFollowCommands(app, session);
  AddFileCommands(app, session);
  AddExportCommand(app, session);
  AddFrameCommands(app, session);
  AddWaymoCommands(app, session);
  AddDataCheckCommands(app, session);
  AddDataPrepareCommand(app, session);
  AddDataViewCommand(app, session);
  AddWeightsCommands(app, session);
  AddCacheCommands(app, session);
  AddDoctorCommand(app, session);
  AddVersionCommand(app, session);
  AddCompletionCommands(app, session);
  std::vector<std::string> topic;
  CLI::App* help = app.add_subcommand("help", "Help on a command, or on exit-codes")->group("This program");
  help->add_option("TOPIC", topic, "A command such as data simulate, or exit-codes");
  help->callback([&] { session.exit_code = Help(app, topic); });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return ReportParseError(app, error);
  }
  return session.exit_code;
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
