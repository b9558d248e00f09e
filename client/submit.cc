// kdctl submit.
#include <algorithm>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/frame_progress.h"
#include "base/status.h"
#include "client/follow.h"
#include "client/job_lines.h"
#include "client/json.h"
#include "client/pair_edit.h"
#include "client/session.h"
#include "core/pair.h"

namespace kd {
namespace {

constexpr size_t kMaxRequestId = 128;

struct SubmitFlags {
  std::string file, request_id, output = "name";
  std::vector<std::string> sets;
  bool dry_run = false, wait = false;
};

absl::StatusOr<v1::Pair> ReadPair(const SubmitFlags& flags) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.file));
  KD_ASSIGN_OR_RETURN(YamlNode tree, ParseYamlTree(text, flags.file));
  for (const std::string& assignment : flags.sets) KD_RETURN_IF_ERROR(SetByPath(assignment, tree));
  KD_ASSIGN_OR_RETURN(v1::Pair pair, ParsePair(tree, flags.file));
  MakePathsAbsolute(pair);
  return pair;
}

// What the person wrote, without what only shows.
std::string SubmitCommand(const SubmitFlags& flags) {
  std::string command = absl::StrCat("kdctl submit ", flags.file);
  for (const std::string& assignment : flags.sets) absl::StrAppend(&command, " --set '", assignment, "'");
  return command;
}

void PrintEstimate(const v1::Job& job) {
  const v1::Estimate& estimate = job.estimate();
  const auto line = [](absl::string_view name, const std::string& value) {
    std::cout << absl::StrFormat("%-15s %s\n", name, value);
  };
  line("frames",
       absl::StrCat(Grouped(estimate.train_frames()), " to train, ", Grouped(estimate.val_frames()), " to evaluate"));
  line("steps", Grouped(estimate.steps()));
  if (!job.pair().has_teacher()) {
    line("teacher", "none");
  } else {
    const uint64_t alone = estimate.passes_without_a_fleet();
    const uint64_t saved = alone - std::min(alone, estimate.teacher_passes());
    line("teacher", job.teacher_digest());
    line("teacher passes", absl::StrCat(Grouped(estimate.teacher_passes()), " when nothing is cached"));
    line("passes saved",
         absl::StrFormat("%s of %s (%.0f %%) against a teacher inside every worker", Grouped(saved), Grouped(alone),
                         alone == 0 ? 0.0 : 100.0 * static_cast<double>(saved) / static_cast<double>(alone)));
    line("responses", ShortBytes(estimate.response_bytes()));
  }
  line("jobs ahead", Grouped(estimate.jobs_ahead()));
}

ExitCode ReportSubmitError(const absl::Status& status, const SubmitFlags& flags, const std::string& request_id) {
  // Whether the job exists is not known: the same id finds out.
  if (absl::IsDeadlineExceeded(status) && !flags.dry_run) {
    return ReportError(status,
                       absl::StrCat(SubmitCommand(flags), " --request-id ", request_id, "  (makes no second job)"));
  }
  if (absl::IsAlreadyExists(status))
    return ReportError(absl::InvalidArgumentError(status.message()), "kdctl submit without --request-id");
  return ReportFleetError(
      status, absl::StrCat("correct ", flags.file, " (kdctl explain pair), or kdctl doctor --file ", flags.file));
}

// It travels in a header, too.
bool IsRequestId(const std::string& id) {
  return id.size() <= kMaxRequestId && std::all_of(id.begin(), id.end(), [](char c) { return c > ' ' && c <= '~'; });
}

int Submit(const SubmitFlags& flags, Session& session) {
  if (!IsRequestId(flags.request_id)) {
    return ReportError(absl::InvalidArgumentError("--request-id must be at most 128 letters, digits and signs"),
                       "kdctl submit without --request-id");
  }
  const absl::StatusOr<v1::Pair> pair = ReadPair(flags);
  if (!pair.ok())
    return ReportError(pair.status(), absl::IsInvalidArgument(pair.status()) ? "kdctl explain pair" : kNameAJobFile);
  if (!flags.request_id.empty()) session.fleet.request_id = flags.request_id;
  FleetClient fleet(session.fleet);
  const absl::StatusOr<v1::Job> job = fleet.Submit(*pair, fleet.request_id(), flags.dry_run);
  if (!job.ok()) return ReportSubmitError(job.status(), flags, fleet.request_id());
  if (flags.output == "json") {
    std::cout << JsonToText(MessageToJson(*job));
  } else if (flags.output == "yaml") {
    std::cout << JsonToYaml(MessageToJson(*job));
  } else if (flags.dry_run) {
    PrintEstimate(*job);
  } else {
    std::cout << job->id() << std::endl;
  }
  if (flags.dry_run) {
    SayNext(SubmitCommand(flags));
    return kExitOk;
  }
  Say(absl::StrCat("submitted to the fleet at ", fleet.address(), " as request ", fleet.request_id()));
  if (flags.wait) return FollowJob(fleet, job->id(), {.out = &std::cerr, .redraw = TalksToATerminal()});
  SayNext(absl::StrCat("kdctl watch ", job->id()));
  return kExitOk;
}

}  // namespace

void AddSubmitCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<SubmitFlags>();
  CLI::App* submit = app.add_subcommand("submit", "Give a job to the fleet; prints its id")->group("Jobs");
  submit->add_option("FILE", flags->file, "Job file")->required();
  submit->add_option("--set", flags->sets, "Replace a value of the file, such as train.epochs=2; repeatable")
      ->allow_extra_args(false);
  submit->add_flag("--dry-run", flags->dry_run, "Check and estimate only");
  submit->add_flag("--wait", flags->wait, "Follow the job; exit code 0 when it succeeds, 3 when it does not");
  submit->add_option("--request-id", flags->request_id, "Repeating a submit with the same id makes no second job");
  submit->add_option("-o,--output", flags->output, "name, json or yaml")
      ->check(CLI::IsMember({"name", "json", "yaml"}));
  submit->callback([&session, flags] { session.exit_code = Submit(*flags, session); });
}

}  // namespace kd
