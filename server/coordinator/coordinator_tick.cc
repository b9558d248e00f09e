// The coordinator's own doing: looks at processes and leases, asks Decide(), acts. Every act is written down before it
// is done, so that a coordinator that dies in between does it again or finds it done.
#include <signal.h>

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/fleet_names.h"
#include "server/coordinator/timestamp.h"

namespace kd {
namespace {

constexpr absl::Duration kTeacherFarewell = absl::Seconds(10);
constexpr absl::Duration kEndPoll = absl::Milliseconds(20);

// Threads that wait for the next operation must not eat the cores of the others.
const char kWaitPolicy[] = "OMP_WAIT_POLICY";

}  // namespace

void Coordinator::Tick() {
  absl::MutexLock lock(&mutex_);
  leases_.Observe(clock_.Now());
  PollProcesses();
  const FleetSnapshot snapshot = Snapshot();
  for (const FleetAction& action : Decide(snapshot, options_.policy, clock_.Now())) {
    const absl::Status status = std::visit(
        [this](const auto& what) {
          mutex_.AssertHeld();
          return Do(what);
        },
        action);
    // Nothing has changed: the next Tick() decides the same again.
    if (!status.ok()) LogError("cannot go on yet: ", status.message());
  }
}

void Coordinator::Remember(const std::string& name, const ProcessId& process) {
  const absl::Status status = database_.PutProcess(
      {.name = name, .pid = process.pid, .start_ticks = process.start_ticks, .boot_id = process.boot_id});
  if (!status.ok()) LogWarning("process ", process.pid, " (", name, ") is not written down: ", status.message());
}

void Coordinator::Forget(const std::string& name, const ProcessId& process) {
  const absl::Status status = database_.RemoveProcess(name, process.pid);
  if (!status.ok()) LogWarning("process ", process.pid, " (", name, ") stays written down: ", status.message());
}

void Coordinator::Dismiss(const std::string& name, const ProcessId& process, int signal, absl::Duration grace) {
  if (signal != 0) launcher_.Signal(process, signal);
  leaving_.push_back({.name = name, .process = process, .kill_at = clock_.Now() + grace});
}

uint32_t Coordinator::CountLeaving(const std::string& prefix) const {
  return static_cast<uint32_t>(std::count_if(leaving_.begin(), leaving_.end(), [&](const Leaving& leaving) {
    return absl::StartsWith(leaving.name, prefix);
  }));
}

void Coordinator::PollProcesses() {
  for (const std::unique_ptr<Running>& job : jobs_) {
    for (uint32_t number = 0; number < job->ranks.size(); ++number) {
      Rank& rank = job->ranks[number];
      if (!rank.process.has_value() || !rank.exit.empty()) continue;
      if (std::optional<std::string> exit = launcher_.Poll(*rank.process)) {
        rank.exit = *std::move(exit);
        Forget(WorkerName(job->record.job().id(), job->launched_generation, number), *rank.process);
      }
    }
  }
  for (auto& [digest, teacher] : teachers_) {
    if (!teacher.running || !teacher.process.has_value() || !teacher.exit.empty()) continue;
    if (std::optional<std::string> exit = launcher_.Poll(*teacher.process)) {
      teacher.exit = *std::move(exit);
      Forget(TeacherName(digest), *teacher.process);
    }
  }
  for (auto leaving = leaving_.begin(); leaving != leaving_.end();) {
    if (launcher_.Poll(leaving->process).has_value()) {
      Forget(leaving->name, leaving->process);
      leaving = leaving_.erase(leaving);
      continue;
    }
    if (clock_.Now() >= leaving->kill_at) launcher_.Signal(leaving->process, SIGKILL);
    ++leaving;
  }
}

FleetSnapshot Coordinator::Snapshot() {
  const auto silence = [this](const std::string& holder) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return leases_.Expired(holder) ? leases_.Silence(holder) : absl::ZeroDuration();
  };
  FleetSnapshot fleet;
  std::map<std::string, bool> used;
  for (const std::unique_ptr<Running>& job : jobs_) {
    const v1::Job& about = job->record.job();
    JobSnapshot& snapshot = fleet.jobs.emplace_back();
    snapshot.id = about.id();
    snapshot.state = about.state();
    snapshot.reason = about.reason();
    snapshot.generation = about.generation();
    snapshot.restarts = job->record.restarts();
    if (job->record.has_not_before()) snapshot.not_before = FromTimestamp(job->record.not_before());
    snapshot.teacher_digest = about.teacher_digest();
    snapshot.launched = job->record.launched();
    snapshot.inherited = job->inherited;
    snapshot.leftovers = CountLeaving(about.id() + "/");
    for (uint32_t number = 0; number < job->ranks.size(); ++number) {
      const Rank& rank = job->ranks[number];
      snapshot.ranks.push_back({.joined = rank.joined,
                                .finished = rank.finished,
                                .exit = rank.exit,
                                .silence = silence(WorkerName(about.id(), job->launched_generation, number)),
                                .failure = rank.failure,
                                .permanent = rank.permanent});
    }
    if (about.state() != v1::JOB_STATE_QUEUED) used[about.teacher_digest()] = true;
  }
  for (auto& [digest, teacher] : teachers_) {
    if (used.contains(digest)) {
      teacher.unused_since = absl::InfiniteFuture();
    } else if (teacher.unused_since == absl::InfiniteFuture()) {
      teacher.unused_since = clock_.Now();
    }
    fleet.teachers.push_back({.digest = digest,
                              .running = teacher.running,
                              .ready = teacher.ready,
                              .exit = teacher.exit,
                              .silence = silence(TeacherName(digest)),
                              .refusal = teacher.refusal,
                              .restarts = teacher.restarts,
                              .not_before = teacher.not_before,
                              .leftovers = CountLeaving(TeacherName(digest)),
                              .unused_since = teacher.unused_since});
  }
  return fleet;
}

absl::Status Coordinator::Do(const IssueGeneration& action) {
  Running& job = *FindRunning(action.job);
  v1::JobRecord next = job.record;
  if (action.counts) next.set_restarts(next.restarts() + 1);
  *next.mutable_not_before() =
      ToTimestamp(clock_.Now() + (action.counts ? RestartDelay(next.restarts()) : absl::ZeroDuration()));
  next.set_launched(false);
  next.mutable_job()->set_generation(action.generation);
  next.mutable_job()->set_state(v1::JOB_STATE_STARTING);
  next.mutable_job()->set_reason(action.reason);
  if (!next.job().has_started()) *next.mutable_job()->mutable_started() = ToTimestamp(clock_.Now());
  if (action.generation > 1) ++worker_restarts_;
  KD_RETURN_IF_ERROR(Change(job, std::move(next), action.reason));
  DropGeneration(job);
  return absl::OkStatus();
}

absl::Status Coordinator::Do(const LaunchWorkers& action) {
  Running& job = *FindRunning(action.job);
  const std::string folder = JobFolder(options_.folder, action.job);
  KD_RETURN_IF_ERROR(CreateFolders(folder + "/logs"));
  v1::JobRecord next = job.record;
  next.set_launched(true);
  KD_RETURN_IF_ERROR(Change(job, std::move(next), ""));
  job.launched_generation = job.record.job().generation();
  job.ranks.assign(job.record.job().pair().train().workers(), Rank());
  if (options_.on_generation_started)
    options_.on_generation_started(GenerationPrefix(action.job, job.launched_generation));
  for (uint32_t number = 0; number < job.ranks.size(); ++number) {
    const std::string name = WorkerName(action.job, job.launched_generation, number);
    leases_.Grant(name, options_.start_lease);
    std::vector<std::string> arguments = WorkerCommand(action.job, job.launched_generation, number);
    arguments.insert(arguments.end(), {"--coordinator", address_});
    const absl::StatusOr<ProcessId> process = launcher_.Start({.arguments = std::move(arguments),
                                                               .environment = {{kWaitPolicy, "PASSIVE"}},
                                                               .log_path = WorkerLogPath(folder, number)});
    if (!process.ok()) {
      job.ranks[number].exit = absl::StrCat("did not start: ", process.status().message());
      continue;
    }
    job.ranks[number].process = *process;
    Remember(name, *process);
  }
  return absl::OkStatus();
}

absl::Status Coordinator::Do(const MarkRunning& action) {
  Running& job = *FindRunning(action.job);
  v1::JobRecord next = job.record;
  next.mutable_job()->set_state(v1::JOB_STATE_RUNNING);
  const uint64_t step = next.job().checkpoint_step();
  const std::string reason = absl::StrCat(job.ranks.size(), job.ranks.size() == 1 ? " worker" : " workers", " at work",
                                          step > 0 ? absl::StrCat(", from step ", step) : "");
  next.mutable_job()->set_reason(reason);
  return Change(job, std::move(next), reason);
}

absl::Status Coordinator::Do(const FailJob& action) {
  Running& job = *FindRunning(action.job);
  return End(job, job.record, v1::JOB_STATE_FAILED, action.reason);
}

absl::Status Coordinator::Do(const ExplainJob& action) {
  Running& job = *FindRunning(action.job);
  v1::JobRecord next = job.record;
  next.mutable_job()->set_reason(action.reason);
  return Change(job, std::move(next), "");
}

absl::Status Coordinator::Do(const StartTeacher& action) {
  const std::string folder = TeacherFolder(options_.folder, action.digest), name = TeacherName(action.digest);
  // One that was stopped may still hold the cache.
  if (CountLeaving(name) > 0) return absl::OkStatus();
  KD_RETURN_IF_ERROR(CreateFolders(folder + "/cache"));
  Teacher& teacher = teachers_[action.digest];
  teacher.weights_path = TeacherWeightsPath(options_.folder, action.digest);
  teacher.running = true;
  teacher.ready = false;
  teacher.process.reset();
  teacher.exit.clear();
  teacher.refusal.clear();
  teacher.address.clear();
  leases_.Grant(name, options_.start_lease);
  const absl::StatusOr<ProcessId> process =
      launcher_.Start({.arguments = {options_.programs + "/kd-teacher", "--weights", teacher.weights_path, "--digest",
                                     action.digest, "--cache-folder", folder + "/cache", "--coordinator", address_},
                       .environment = {{kWaitPolicy, "PASSIVE"}},
                       .log_path = folder + "/teacher.log"});
  if (process.ok()) {
    teacher.process = *process;
    Remember(name, *process);
    LogInfo("started teacher ", action.digest, " as process ", process->pid);
  } else {
    teacher.exit = absl::StrCat("did not start: ", process.status().message());
  }
  return absl::OkStatus();
}

absl::Status Coordinator::Do(const LoseTeacher& action) {
  Teacher& teacher = teachers_[action.digest];
  LogWarning("teacher ", action.digest, " ", action.cause);
  leases_.Release(TeacherName(action.digest));
  if (teacher.process.has_value() && teacher.exit.empty()) {
    Dismiss(TeacherName(action.digest), *teacher.process, SIGKILL, absl::ZeroDuration());
  }
  if (!teacher.refusal.empty()) {
    // The jobs that wanted it have ended; the next one that does starts it again.
    teachers_.erase(action.digest);
    return absl::OkStatus();
  }
  ++teacher_restarts_;
  teacher.running = teacher.ready = false;
  teacher.process.reset();
  teacher.exit.clear();
  teacher.address.clear();
  ++teacher.restarts;
  teacher.not_before = clock_.Now() + RestartDelay(teacher.restarts);
  return absl::OkStatus();
}

absl::Status Coordinator::Do(const StopTeacher& action) {
  const Teacher& teacher = teachers_[action.digest];
  LogInfo("teacher ", action.digest, " is not used; stopping it");
  leases_.Release(TeacherName(action.digest));
  if (teacher.process.has_value() && teacher.exit.empty()) {
    Dismiss(TeacherName(action.digest), *teacher.process, SIGTERM, kTeacherFarewell);
  }
  teachers_.erase(action.digest);
  return absl::OkStatus();
}

void Coordinator::EndProcesses(absl::Duration grace) {
  std::vector<ProcessId> processes;
  {
    absl::MutexLock lock(&mutex_);
    for (const std::unique_ptr<Running>& job : jobs_) {
      for (const Rank& rank : job->ranks) {
        if (rank.process.has_value() && rank.exit.empty()) processes.push_back(*rank.process);
      }
    }
    for (const auto& [digest, teacher] : teachers_) {
      if (teacher.process.has_value() && teacher.exit.empty()) processes.push_back(*teacher.process);
    }
    for (const Leaving& leaving : leaving_) processes.push_back(leaving.process);
  }
  // Without the lock: a teacher may be in the middle of a call that it waits for.
  const absl::Time kill_at = absl::Now() + grace;
  for (const ProcessId& process : processes) launcher_.Signal(process, SIGTERM);
  for (const ProcessId& process : processes) {
    // They stay written down, so that the next coordinator sees at once that they are gone.
    while (!launcher_.Poll(process).has_value()) {
      if (absl::Now() >= kill_at) launcher_.Signal(process, SIGKILL);
      absl::SleepFor(kEndPoll);
    }
  }
}

}  // namespace kd
