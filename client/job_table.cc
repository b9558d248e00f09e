#include "client/job_table.h"

#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"
#include "client/job_lines.h"
#include "client/json.h"
#include "core/job_state.h"

namespace kd {
namespace {

constexpr size_t kReasonWidth = 60;
// "sha256:" and twelve digits tell teachers apart on a screen.
constexpr size_t kShortDigest = 19;

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}
std::string Iso(const google::protobuf::Timestamp& time) { return MessageToJson(time).get<std::string>(); }

std::string StepCell(const v1::Job& job) {
  if (job.progress().total_steps() == 0) return "";
  return absl::StrCat(job.progress().step(), "/", job.progress().total_steps());
}

// Facts, one a line, names aligned.
class Page {
 public:
  void Add(absl::string_view name, absl::string_view value) {
    if (!value.empty())
      absl::StrAppendFormat(&text_, "%-12s%s\n", name, absl::StrReplaceAll(value, {{"\n", "\n            "}}));
  }
  void AddTime(absl::string_view name, const google::protobuf::Timestamp& time, absl::Time now) {
    Add(name, absl::StrCat(Iso(time), " (", ShortDuration(now - ToTime(time)), " ago)"));
  }
  void Head(absl::string_view title) { absl::StrAppend(&text_, "\n", title, "\n"); }
  void Line(absl::string_view line) { absl::StrAppend(&text_, "  ", OneLine(line), "\n"); }
  std::string text() { return std::move(text_); }

 private:
  std::string text_;
};

}  // namespace

Table JobTable(const v1::ListJobsResponse& jobs, absl::Time now) {
  Table table{.columns = {{"ID"},
                          {"STATE"},
                          {"STEP"},
                          {"AGE"},
                          {.title = "REASON", .cut = kReasonWidth},
                          {.title = "PHASE", .wide = true},
                          {.title = "GENERATION", .wide = true},
                          {.title = "CHECKPOINT", .wide = true},
                          {.title = "TEACHER", .wide = true},
                          {.title = "CREATED", .wide = true}}};
  for (const v1::Job& job : jobs.jobs()) {
    table.rows.push_back(
        {.name = job.id(),
         .cells = {job.id(), JobStateName(job.state()), StepCell(job), ShortDuration(now - ToTime(job.created())),
                   job.reason(), job.progress().phase(), absl::StrCat(job.generation()),
                   absl::StrCat(job.checkpoint_step()), job.teacher_digest(), Iso(job.created())},
         .json = MessageToJson(job)});
  }
  return table;
}

Table TeacherTable(const v1::ListTeachersResponse& teachers, absl::Time now) {
  Table table{.columns = {{.title = "DIGEST", .cut = kShortDigest},
                          {"STATE"},
                          {"ADDRESS"},
                          {"SEEN"},
                          {.title = "PID", .wide = true},
                          {.title = "METRICS", .wide = true}}};
  for (const v1::TeacherReplica& teacher : teachers.teachers()) {
    const std::string seen = teacher.has_last_seen() ? ShortDuration(now - ToTime(teacher.last_seen())) + " ago" : "";
    table.rows.push_back({.name = teacher.digest(),
                          .cells = {teacher.digest(), teacher.state(), teacher.address(), seen,
                                    absl::StrCat(teacher.pid()), teacher.metrics_url()},
                          .json = MessageToJson(teacher)});
  }
  return table;
}

std::string DescribeJob(const v1::Job& job, const v1::ListEventsResponse& events, absl::Time now) {
  Page page;
  page.Add("job", job.id());
  page.Add("state", JobStateName(job.state()));
  page.Add("reason", OneLine(job.reason()));
  page.Add("owner", job.pair().metadata().owner());
  page.AddTime("created", job.created(), now);
  if (job.has_started()) page.AddTime("started", job.started(), now);
  if (job.has_ended()) page.AddTime("ended", job.ended(), now);
  if (job.generation() > 0) page.Add("generation", absl::StrCat(job.generation()));
  page.Add("student", job.pair().student().model());
  page.Add("teacher", absl::StrCat(job.pair().teacher().weights(), job.teacher_digest().empty() ? "" : "\n",
                                   job.teacher_digest()));
  page.Add("data", job.pair().data().root());
  if (job.checkpoint_step() > 0) page.Add("checkpoint", absl::StrCat("step ", job.checkpoint_step()));
  if (job.has_progress()) {
    page.Add("progress",
             absl::StrCat(StepCell(job), job.progress().phase().empty() ? "" : ", ", OneLine(job.progress().phase())));
    page.Add("", OneLine(ProgressDetail(job.progress())));
    if (const auto eta = EtaEstimator().Estimate(job))
      page.Add("ETA", absl::StrCat(ShortDuration(eta->left), " (", eta->basis, ")"));
  }
  page.Add("artifact", OneLine(job.outcome().artifact()));
  page.Add("digest", OneLine(job.outcome().artifact_digest()));
  if (!job.outcome().metrics().empty()) page.Head("metrics (average precision, %)");
  for (const auto& [name, value] :
       std::map<std::string, double>(job.outcome().metrics().begin(), job.outcome().metrics().end())) {
    page.Line(absl::StrFormat("%-44s %.4f", name, value));
  }
  if (!events.events().empty()) page.Head("events");
  for (const v1::JobEvent& event : events.events()) {
    page.Line(absl::StrFormat("%s  %-9s  %s", Iso(event.time()), JobStateName(event.state()), event.message()));
  }
  return page.text();
}

}  // namespace kd
