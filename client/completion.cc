// kdctl completion, and __complete, which the shells' scripts ask. Whatever goes wrong there, the answer is silence: a
// person is typing.
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/session.h"
#include "client/table.h"
#include "core/job_state.h"
#include "core/model_export.h"
#include "data/nuscenes_splits.h"
#include "eval/waymo.h"

namespace kd {
namespace {

// The scripts pass the words up to the cursor and offer the lines of the answer; without any, the shell offers files.
constexpr char kBash[] = R"(_kdctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} IFS=$'\n'
  COMPREPLY=($(kdctl __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  # bash cuts words at ':'; what stands before the last one is on the line already.
  local before=${cur%"${cur##*:}"}
  [ "$before" = "$cur" ] || COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -o default -F _kdctl kdctl
)";
constexpr char kZsh[] = R"(#compdef kdctl
_kdctl() {
  local -a found
  found=("${(@f)$(kdctl __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "${found[1]}" ]]; then compadd -a found; else _files; fi
}
compdef _kdctl kdctl
)";
constexpr char kFish[] = R"(function __kdctl_complete
  set -l words (commandline -opc) (commandline -ct)
  kdctl __complete $words[2..-1] 2>/dev/null
end
complete -c kdctl -a '(__kdctl_complete)'
)";

std::vector<std::string> JobIds(const FleetOptions& fleet) {
  std::vector<std::string> ids;
  const absl::StatusOr<v1::ListJobsResponse> jobs = FleetClient(fleet).ListJobs({});
  if (!jobs.ok()) return ids;
  for (const v1::Job& job : jobs->jobs()) ids.push_back(job.id());
  return ids;
}

std::vector<std::string> TeacherDigests(const FleetOptions& fleet) {
  std::vector<std::string> digests;
  const absl::StatusOr<v1::ListTeachersResponse> teachers = FleetClient(fleet).ListTeachers();
  if (!teachers.ok()) return digests;
  for (const v1::TeacherReplica& teacher : teachers->teachers()) digests.push_back(teacher.digest());
  return digests;
}

std::vector<std::string> StateNames() {
  std::vector<std::string> names;
  for (int i = v1::JOB_STATE_QUEUED; i <= v1::JOB_STATE_CANCELLED; ++i)
    names.push_back(JobStateName(static_cast<v1::JobState>(i)));
  return names;
}

// Where the cursor stands.
struct Place {
  const CLI::App* command = nullptr;
  // Words behind the command that are not flags or their values.
  std::vector<std::string> operands;
  // Waits for its value.
  const CLI::Option* option = nullptr;
};

const CLI::App* FindCommand(const CLI::App& command, const std::string& word) {
  const auto found = command.get_subcommands([&word](const CLI::App* next) { return next->check_name(word); });
  return found.empty() ? nullptr : found.front();
}

const CLI::Option* FindOption(const CLI::App* command, const std::string& word) {
  for (; command != nullptr; command = command->get_parent()) {
    if (const CLI::Option* option = command->get_option_no_throw(word)) return option;
  }
  return nullptr;
}

// Whether `word` stands where the option's value may be left out.
bool LeavesOut(const CLI::Option& option, const std::string& word) {
  return option.get_items_expected_min() == 0 && absl::StartsWith(word, "-");
}

Place FindPlace(const CLI::App& app, const std::vector<std::string>& words, FleetOptions& fleet) {
  Place place{.command = &app};
  for (const std::string& word : words) {
    if (place.option != nullptr && !LeavesOut(*place.option, word)) {
      if (place.option->check_name("--address")) fleet.address = word;
      place.option = nullptr;
    } else if (absl::StartsWith(word, "-")) {
      place.option = nullptr;
      const CLI::Option* option = FindOption(place.command, word);
      if (option != nullptr && option->get_expected_max() > 0 && option->get_items_expected_max() > 0)
        place.option = option;
    } else {
      const CLI::App* next = place.operands.empty() ? FindCommand(*place.command, word) : nullptr;
      if (next != nullptr) place.command = next;
      if (next == nullptr) place.operands.push_back(word);
    }
  }
  return place;
}

std::vector<std::string> Values(const Place& place) {
  if (place.option->check_name("--for")) return StateNames();
  if (place.option->check_name("--breakdowns")) return WaymoBreakdownNames();
  if (place.option->check_name("--target")) return ExportTargetNames();
  if (place.option->check_name("--box-type")) return {"2D", "3D"};
  const bool is_eval = place.command->get_parent() != nullptr && place.command->get_parent()->get_name() == "eval";
  if (place.option->check_name("--format")) return {"custom", "kitti", "nuscenes", "waymo"};
  // -o names a file for some commands.
  const bool two_forms = is_eval || place.command->get_name() == "import";
  if (place.option->check_name("--output"))
    return two_forms ? std::vector<std::string>{"json", "table"} : ListFormats();
  if (is_eval && place.command->get_name() == "nuscenes") {
    if (place.option->check_name("--split")) return NuscenesSplitNames();
    if (place.option->check_name("--version")) return {"v1.0-mini", "v1.0-test", "v1.0-trainval"};
  }
  return {};
}

std::vector<std::string> Flags(const CLI::App* command) {
  std::vector<std::string> flags;
  for (; command != nullptr; command = command->get_parent()) {
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    }
  }
  return flags;
}

std::vector<std::string> Commands(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::App* next :
       command.get_subcommands([](const CLI::App* next) { return !next->get_group().empty(); })) {
    names.push_back(next->get_name());
  }
  return names;
}

std::vector<std::string> Operands(const Place& place, const FleetOptions& fleet) {
  const std::string& name = place.command->get_name();
  if (name == "get") {
    if (place.operands.empty()) return {"jobs", "teachers"};
    return place.operands[0] == "teachers" ? TeacherDigests(fleet) : JobIds(fleet);
  }
  if (name == "help") {
    std::vector<std::string> topics = Commands(*place.command->get_parent());
    topics.push_back("exit-codes");
    return topics;
  }
  const bool takes_job = place.command->get_option_no_throw("JOB") != nullptr;
  return takes_job && place.operands.empty() ? JobIds(fleet) : std::vector<std::string>();
}

void Complete(const CLI::App& app, std::vector<std::string> words, FleetOptions fleet) {
  const std::string prefix = words.empty() ? "" : words.back();
  if (!words.empty()) words.pop_back();
  fleet.deadline = kGlance;
  fleet.debug = false;
  const Place place = FindPlace(app, words, fleet);
  std::vector<std::string> found;
  if (place.option != nullptr && !LeavesOut(*place.option, prefix)) {
    found = Values(place);
  } else if (absl::StartsWith(prefix, "-")) {
    found = Flags(place.command);
  } else {
    found = place.operands.empty() ? Commands(*place.command) : std::vector<std::string>();
    if (found.empty()) found = Operands(place, fleet);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  for (const std::string& candidate : found) {
    if (absl::StartsWith(candidate, prefix)) std::cout << candidate << "\n";
  }
}

}  // namespace

void AddCompletionCommands(CLI::App& app, Session& session) {
  CLI::App* completion = app.add_subcommand("completion", "Script that completes kdctl's words in a shell");
  completion->group("This program")->require_subcommand(1);
  const auto add = [completion](const char* shell, const char* use, const char* script) {
    completion->add_subcommand(shell, use)->callback([script] { std::cout << script; });
  };
  add("bash", "source <(kdctl completion bash)", kBash);
  add("zsh", "source <(kdctl completion zsh)", kZsh);
  add("fish", "kdctl completion fish | source", kFish);

  CLI::App* complete = app.add_subcommand("__complete", "Asked by these scripts")->group("");
  complete->prefix_command();
  complete->set_help_flag();
  complete->fallthrough(false);
  complete->callback([&app, &session, complete] { Complete(app, complete->remaining(), session.fleet); });
}

}  // namespace kd
