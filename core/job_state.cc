#include "core/job_state.h"

#include <algorithm>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace kd {
namespace {

std::string Seconds(absl::Duration duration) { return absl::StrCat(absl::ToInt64Seconds(duration), " s"); }

std::string ShortDigest(absl::string_view digest) {
  return std::string(absl::StripPrefix(digest, "sha256:").substr(0, 12));
}

bool IsActive(const JobSnapshot& job) {
  return job.state == v1::JOB_STATE_STARTING || job.state == v1::JOB_STATE_RUNNING;
}

// Why a generation cannot go on.
struct Loss {
  std::string cause;
  bool permanent = false;
};

std::optional<Loss> LossOf(const JobSnapshot& job) {
  const auto rank_name = [&job](size_t rank) { return absl::StrCat("rank ", rank, " of generation ", job.generation); };
  const auto first = [&job](auto predicate) { return std::find_if(job.ranks.begin(), job.ranks.end(), predicate); };
  const auto index = [&job](auto rank) { return static_cast<size_t>(rank - job.ranks.begin()); };

  auto rank = first([](const RankSnapshot& r) { return r.permanent; });
  if (rank != job.ranks.end()) return Loss{.cause = rank->failure, .permanent = true};
  // A process that died without a word comes first: what the others then say ("connection closed") is its echo.
  rank = first([](const RankSnapshot& r) { return !r.finished && r.failure.empty() && !r.exit.empty(); });
  if (rank != job.ranks.end()) return Loss{.cause = absl::StrCat(rank_name(index(rank)), " ", rank->exit)};
  rank = first([](const RankSnapshot& r) { return !r.failure.empty(); });
  if (rank != job.ranks.end()) return Loss{.cause = absl::StrCat(rank_name(index(rank)), ": ", rank->failure)};
  rank = first([](const RankSnapshot& r) { return !r.finished && r.silence > absl::ZeroDuration(); });
  if (rank != job.ranks.end()) {
    return Loss{.cause =
                    absl::StrCat(rank_name(index(rank)), rank->joined ? " was silent for " : " did not join within ",
                                 Seconds(rank->silence))};
  }
  return std::nullopt;
}

// The reason of a STARTING job whose processes run.
std::string WaitingFor(const JobSnapshot& job, const TeacherSnapshot* teacher) {
  std::vector<size_t> missing;
  for (size_t rank = 0; rank < job.ranks.size(); ++rank) {
    if (!job.ranks[rank].joined) missing.push_back(rank);
  }
  std::string reason =
      absl::StrCat("waiting for rank", missing.size() == 1 ? " " : "s ", absl::StrJoin(missing, ", "), " to join");
  if (!job.teacher_digest.empty() && (teacher == nullptr || !teacher->ready)) {
    absl::StrAppend(&reason, " and for teacher ", ShortDigest(job.teacher_digest), " to load");
  }
  return reason;
}

class Decision {
 public:
  Decision(const FleetSnapshot& fleet, const JobPolicy& policy, absl::Time now)
      : fleet_(fleet), policy_(policy), now_(now) {}

  std::vector<FleetAction> Make() {
    for (const JobSnapshot& job : fleet_.jobs) {
      if (IsActive(job)) running_.push_back(job.id);
    }
    for (const TeacherSnapshot& teacher : fleet_.teachers) DecideTeacher(teacher);
    for (const JobSnapshot& job : fleet_.jobs) {
      if (failed_.contains(job.id)) continue;
      if (IsActive(job)) DecideActive(job);
      if (job.state == v1::JOB_STATE_QUEUED) DecideQueued(job);
    }
    StartMissingTeachers();
    return std::move(actions_);
  }

 private:
  const TeacherSnapshot* FindTeacher(absl::string_view digest) const {
    for (const TeacherSnapshot& teacher : fleet_.teachers) {
      if (teacher.digest == digest) return &teacher;
    }
    return nullptr;
  }

  bool IsWanted(absl::string_view digest) const {
    return std::any_of(fleet_.jobs.begin(), fleet_.jobs.end(), [&](const JobSnapshot& job) {
      return IsActive(job) && job.teacher_digest == digest && !failed_.contains(job.id);
    });
  }

  void Fail(const JobSnapshot& job, std::string reason) {
    failed_.insert(job.id);
    running_.erase(std::remove(running_.begin(), running_.end(), job.id), running_.end());
    actions_.push_back(FailJob{job.id, std::move(reason)});
  }

  void FailJobsOf(const TeacherSnapshot& teacher, const std::string& reason) {
    for (const JobSnapshot& job : fleet_.jobs) {
      if (IsActive(job) && job.teacher_digest == teacher.digest) Fail(job, reason);
    }
  }

  void DecideTeacher(const TeacherSnapshot& teacher) {
    const std::string name = absl::StrCat("teacher ", ShortDigest(teacher.digest));
    if (!teacher.refusal.empty()) {
      FailJobsOf(teacher, absl::StrCat(name, " refused its weights: ", teacher.refusal));
      actions_.push_back(LoseTeacher{teacher.digest, absl::StrCat("refused its weights: ", teacher.refusal)});
      return;
    }
    if (teacher.running && (!teacher.exit.empty() || teacher.silence > absl::ZeroDuration())) {
      const std::string cause =
          !teacher.exit.empty() ? teacher.exit : absl::StrCat("was silent for ", Seconds(teacher.silence));
      if (teacher.restarts >= policy_.max_restarts) {
        FailJobsOf(teacher, absl::StrCat(name, " ", cause, " and has been restarted ", teacher.restarts,
                                         " times in vain; read its log, repair the cause and submit again"));
      }
      actions_.push_back(LoseTeacher{teacher.digest, cause});
      return;
    }
    if (!IsWanted(teacher.digest) && now_ - teacher.unused_since >= policy_.teacher_idle) {
      actions_.push_back(StopTeacher{teacher.digest});
    }
  }

  void DecideActive(const JobSnapshot& job) {
    if (const std::optional<Loss> loss = LossOf(job)) {
      if (loss->permanent) {
        Fail(job, loss->cause);
      } else if (job.inherited) {
        Issue(job, absl::StrCat("went on after a restart of the coordinator: ", loss->cause), /*counts=*/false);
      } else if (job.restarts >= policy_.max_restarts) {
        Fail(job, absl::StrCat(loss->cause, "; restarted ", job.restarts,
                               " times without a new checkpoint; read `kdctl logs ", job.id,
                               "`, repair the cause and submit again"));
      } else {
        Issue(job,
              absl::StrCat(loss->cause, "; restart ", job.restarts + 1, " of at most ", policy_.max_restarts,
                           " without a new checkpoint"),
              /*counts=*/true);
      }
      return;
    }
    if (!job.launched) {
      if (job.leftovers == 0 && now_ >= job.not_before) actions_.push_back(LaunchWorkers{job.id});
      return;
    }
    if (job.state != v1::JOB_STATE_STARTING) return;
    if (std::all_of(job.ranks.begin(), job.ranks.end(), [](const RankSnapshot& rank) { return rank.joined; })) {
      actions_.push_back(MarkRunning{job.id});
    } else {
      Explain(job, WaitingFor(job, FindTeacher(job.teacher_digest)));
    }
  }

  void DecideQueued(const JobSnapshot& job) {
    if (running_.size() < policy_.max_jobs) {
      running_.push_back(job.id);
      if (!job.teacher_digest.empty()) started_teachers_.insert(job.teacher_digest);
      Issue(job, "starting", /*counts=*/false);
      return;
    }
    Explain(job, absl::StrCat(running_.size(), " of at most ", policy_.max_jobs, " jobs are running (",
                              absl::StrJoin(running_, ", "), "); starts when one ends"));
  }

  void Issue(const JobSnapshot& job, std::string reason, bool counts) {
    actions_.push_back(IssueGeneration{job.id, job.generation + 1, std::move(reason), counts});
  }

  void Explain(const JobSnapshot& job, std::string reason) {
    if (reason != job.reason) actions_.push_back(ExplainJob{job.id, std::move(reason)});
  }

  void StartMissingTeachers() {
    std::set<std::string> wanted = started_teachers_;
    for (const JobSnapshot& job : fleet_.jobs) {
      if (IsActive(job) && !job.teacher_digest.empty() && !failed_.contains(job.id)) wanted.insert(job.teacher_digest);
    }
    for (const std::string& digest : wanted) {
      const TeacherSnapshot* const teacher = FindTeacher(digest);
      if (teacher == nullptr || (!teacher->running && teacher->leftovers == 0 && now_ >= teacher->not_before)) {
        actions_.push_back(StartTeacher{digest});
      }
    }
  }

  const FleetSnapshot& fleet_;
  const JobPolicy& policy_;
  const absl::Time now_;
  std::vector<std::string> running_;
  std::set<std::string> failed_;
  std::set<std::string> started_teachers_;
  std::vector<FleetAction> actions_;
};

}  // namespace

std::vector<FleetAction> Decide(const FleetSnapshot& fleet, const JobPolicy& policy, absl::Time now) {
  return Decision(fleet, policy, now).Make();
}

bool IsFinal(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED || state == v1::JOB_STATE_CANCELLED;
}

std::string JobStateName(v1::JobState state) {
  return std::string(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_"));
}

absl::Duration RestartDelay(uint32_t restarts) {
  if (restarts == 0) return absl::ZeroDuration();
  return std::min(absl::Milliseconds(500) * (int64_t{1} << std::min(restarts - 1, 6u)), absl::Seconds(30));
}

}  // namespace kd
