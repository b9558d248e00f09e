// kdctl get, describe, cancel and logs.
#include <algorithm>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/follow.h"
#include "client/job_table.h"
#include "client/json.h"
#include "client/session.h"
#include "core/job_state.h"

namespace kd {
namespace {

struct GetFlags {
  std::string kind = "jobs", id, name, output = "table";
  uint32_t limit = 100;
};
struct LogFlags {
  std::string id;
  std::optional<uint32_t> rank;
  bool follow = false;
};

int GetJobs(const GetFlags& flags, FleetClient& fleet) {
  v1::ListJobsResponse jobs;
  if (flags.id.empty()) {
    v1::ListJobsRequest request;
    request.set_limit(flags.limit);
    request.set_name(flags.name);
    absl::StatusOr<v1::ListJobsResponse> listed = fleet.ListJobs(request);
    if (!listed.ok()) return ReportFleetError(listed.status(), "kdctl doctor");
    jobs = *std::move(listed);
  } else {
    absl::StatusOr<v1::Job> job = fleet.GetJob(flags.id);
    if (!job.ok()) return ReportFleetError(job.status(), "kdctl get jobs");
    *jobs.add_jobs() = *std::move(job);
  }
  std::cout << RenderTable(JobTable(jobs, absl::Now()), flags.output);
  if (jobs.jobs().empty()) {
    Say("no jobs");
    SayNext("kdctl data simulate --out out/sim, and kdctl submit examples/teacher-sim.yaml");
  } else {
    SayNext(absl::StrCat(IsFinal(jobs.jobs(0).state()) ? "kdctl describe " : "kdctl watch ", jobs.jobs(0).id()));
  }
  return kExitOk;
}

int GetTeachers(const GetFlags& flags, FleetClient& fleet) {
  absl::StatusOr<v1::ListTeachersResponse> teachers = fleet.ListTeachers();
  if (!teachers.ok()) return ReportFleetError(teachers.status(), "kdctl doctor");
  v1::ListTeachersResponse wanted;
  for (const v1::TeacherReplica& teacher : teachers->teachers()) {
    if (flags.id.empty() || teacher.digest() == flags.id) *wanted.add_teachers() = teacher;
  }
  if (!flags.id.empty() && wanted.teachers().empty()) {
    return ReportError(absl::NotFoundError(absl::StrCat("the fleet runs no teacher \"", flags.id, "\"")),
                       "kdctl get teachers -o name");
  }
  std::cout << RenderTable(TeacherTable(wanted, absl::Now()), flags.output);
  if (wanted.teachers().empty()) Say("no teachers; the fleet starts one when a job needs it");
  SayNext(wanted.teachers().empty() ? "kdctl get jobs" : "kdctl cache stats");
  return kExitOk;
}

int Get(GetFlags flags, Session& session) {
  FleetClient fleet(session.fleet);
  if (flags.kind == "teachers" || flags.kind == "teacher") return GetTeachers(flags, fleet);
  if (flags.kind == "jobs" || flags.kind == "job") return GetJobs(flags, fleet);
  if (!flags.id.empty()) {
    return ReportError(
        absl::InvalidArgumentError(absl::StrCat("cannot list \"", flags.kind, "\", expected jobs or teachers")),
        "kdctl get jobs");
  }
  flags.id = flags.kind;
  return GetJobs(flags, fleet);
}

int Describe(const std::string& id, const std::string& output, Session& session) {
  FleetClient fleet(session.fleet);
  const absl::StatusOr<v1::Job> job = fleet.GetJob(id);
  if (!job.ok()) return ReportFleetError(job.status(), "kdctl get jobs");
  const absl::StatusOr<v1::ListEventsResponse> events = fleet.ListEvents(id);
  if (!events.ok()) return ReportFleetError(events.status(), "kdctl get jobs");
  if (output == "table") {
    std::cout << DescribeJob(*job, *events, absl::Now());
  } else {
    nlohmann::ordered_json json = MessageToJson(*job);
    json["events"] = MessageToJson(*events)["events"];
    std::cout << (output == "json" ? JsonToText(json) : JsonToYaml(json));
  }
  if (!IsFinal(job->state())) {
    SayNext(absl::StrCat("kdctl watch ", id));
  } else if (job->state() == v1::JOB_STATE_SUCCEEDED && !job->outcome().artifact().empty()) {
    SayNext(absl::StrCat("kdctl pull ", job->outcome().artifact()));
  } else {
    SayNext(absl::StrCat("kdctl logs ", id));
  }
  return kExitOk;
}

int Cancel(const std::string& id, Session& session) {
  FleetClient fleet(session.fleet);
  const absl::StatusOr<v1::Job> job = fleet.CancelJob(id);
  if (absl::IsFailedPrecondition(job.status())) return ReportError(job.status(), absl::StrCat("kdctl describe ", id));
  if (!job.ok()) return ReportFleetError(job.status(), "kdctl get jobs");
  std::cout << job->id() << "\n";
  Say(absl::StrCat("cancelled on the fleet at ", fleet.address()));
  SayNext(absl::StrCat("kdctl describe ", id));
  return kExitOk;
}

int Logs(const LogFlags& flags, Session& session) {
  const InterruptGuard interrupt;
  FleetClient fleet(session.fleet);
  const auto stream = fleet.Logs(flags.id, flags.follow);
  using Read = FleetStream<v1::LogChunk>::Read;
  uint64_t lines = 0;
  while (true) {
    if (interrupt.interrupted()) {
      Say(absl::StrCat("stopped reading; job ", flags.id, " goes on. To cancel it: kdctl cancel ", flags.id));
      SayNext(absl::StrCat("kdctl logs ", flags.id, " -f"));
      return kExitInterrupted;
    }
    v1::LogChunk chunk;
    const absl::StatusOr<Read> read = stream->Next(absl::Now() + kInterruptPoll, &chunk);
    if (!read.ok()) return ReportFleetError(read.status(), "kdctl get jobs");
    if (*read == Read::kEnd) break;
    if (*read == Read::kNothingYet) {
      std::cout.flush();
      continue;
    }
    if (flags.rank.has_value() && chunk.rank() != *flags.rank) continue;
    ++lines;
    std::cout << "[" << chunk.rank() << "] " << chunk.line() << "\n";
  }
  std::cout.flush();
  if (lines == 0) Say("no lines: no worker has written any");
  SayNext(absl::StrCat("kdctl describe ", flags.id));
  return kExitOk;
}

}  // namespace

ExitCode ReportFleetError(const absl::Status& status, absl::string_view remedy) {
  if (absl::IsDeadlineExceeded(status) || absl::StartsWith(status.message(), "cannot reach the fleet")) {
    return ReportError(status, kStartAFleet);
  }
  return ReportError(status, absl::IsUnavailable(status) ? "kdctl doctor" : remedy);
}

void AddJobCommands(CLI::App& app, Session& session) {
  const auto get_flags = std::make_shared<GetFlags>();
  CLI::App* get = app.add_subcommand("get", "List jobs or teachers, newest first")->group("Jobs");
  get->add_option("KIND", get_flags->kind, "jobs or teachers; or a job's id")->capture_default_str();
  get->add_option("ID", get_flags->id, "Only this job, or the teacher of this digest");
  get->add_option("--name", get_flags->name, "Only jobs whose file has this metadata.name");
  get->add_option("--limit", get_flags->limit, "Jobs at most")->capture_default_str();
  get->add_option("-o,--output", get_flags->output, "table, wide, json, yaml, csv or name")
      ->check(CLI::IsMember(ListFormats()));
  get->callback([&session, get_flags] { session.exit_code = Get(*get_flags, session); });

  const auto describe_id = std::make_shared<std::string>(), describe_output = std::make_shared<std::string>("table");
  CLI::App* describe = app.add_subcommand("describe", "Everything about a job, with its events")->group("Jobs");
  describe->add_option("JOB", *describe_id, "Job id")->required();
  describe->add_option("-o,--output", *describe_output, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}));
  describe->callback([&session, describe_id, describe_output] {
    session.exit_code = Describe(*describe_id, *describe_output, session);
  });

  const auto log_flags = std::make_shared<LogFlags>();
  CLI::App* logs = app.add_subcommand("logs", "Lines of a job's workers, each with its rank")->group("Jobs");
  logs->add_option("JOB", log_flags->id, "Job id")->required();
  logs->add_option("--rank", log_flags->rank, "Only this worker");
  logs->add_flag("-f,--follow", log_flags->follow, "Go on until the job ends");
  logs->callback([&session, log_flags] { session.exit_code = Logs(*log_flags, session); });

  const auto cancel_id = std::make_shared<std::string>();
  CLI::App* cancel = app.add_subcommand("cancel", "End a job; its checkpoints stay")->group("Jobs");
  cancel->add_option("JOB", *cancel_id, "Job id")->required();
  cancel->callback([&session, cancel_id] { session.exit_code = Cancel(*cancel_id, session); });
}

}  // namespace kd
