// What becomes of jobs and teachers. Decide sees the fleet as it is and says what to do next; whoever calls it acts.
// The states and what may follow which stand at kd.v1.JobState.
#ifndef KD_CORE_JOB_STATE_H_
#define KD_CORE_JOB_STATE_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kd/v1/coordinator.pb.h"

namespace kd {

struct JobPolicy {
  // Jobs that run at once; later ones wait in the order of their submission.
  uint32_t max_jobs = 2;
  // Restarts of a job's workers without a new checkpoint in between, and of a teacher without having been ready.
  uint32_t max_restarts = 5;
  // A teacher that no job has used for this long is stopped.
  absl::Duration teacher_idle = absl::Minutes(5);
};

// One worker process of a job's current generation.
struct RankSnapshot {
  bool joined = false;
  bool finished = false;
  // How its process ended, for example "was killed by signal 9"; empty while it runs.
  std::string exit;
  // Its lease ran out: for how long it has not been heard of. Zero while the lease holds.
  absl::Duration silence;
  // What it said before it gave up; empty when it said nothing.
  std::string failure;
  // The failure will come again: the input is bad.
  bool permanent = false;
};

struct JobSnapshot {
  std::string id;
  v1::JobState state = v1::JOB_STATE_QUEUED;
  std::string reason;
  // 0: no generation has been issued.
  uint32_t generation = 0;
  // Restarts since the last new checkpoint.
  uint32_t restarts = 0;
  // The next workers are not started before.
  absl::Time not_before = absl::InfinitePast();
  // Empty: it learns without a teacher.
  std::string teacher_digest;
  // The current generation's processes have been started; `ranks` then has one entry per rank.
  bool launched = false;
  std::vector<RankSnapshot> ranks;
  // Processes of earlier generations that have not ended yet.
  uint32_t leftovers = 0;
  // This coordinator found the generation when it started; a process that is gone was not lost on the job's account.
  bool inherited = false;
};

// The teacher of one digest.
struct TeacherSnapshot {
  std::string digest;
  // A process was started and has not been given up.
  bool running = false;
  // It has announced itself with its weights loaded.
  bool ready = false;
  std::string exit;
  absl::Duration silence;
  // Why it refuses its weights.
  std::string refusal;
  // Restarts since it was last ready.
  uint32_t restarts = 0;
  absl::Time not_before = absl::InfinitePast();
  // Earlier processes of this teacher that have not ended yet; they hold its cache folder.
  uint32_t leftovers = 0;
  // Since when no job has used it; ignored while one does.
  absl::Time unused_since = absl::InfiniteFuture();
};

struct FleetSnapshot {
  // Not ended, in the order of submission.
  std::vector<JobSnapshot> jobs;
  std::vector<TeacherSnapshot> teachers;
};

// Issues generation + 1; `counts` when it uses up one of the job's restarts.
struct IssueGeneration {
  std::string job;
  uint32_t generation;
  std::string reason;
  bool counts;
};
// Starts the processes of the current generation.
struct LaunchWorkers {
  std::string job;
};
struct MarkRunning {
  std::string job;
};
struct FailJob {
  std::string job;
  std::string reason;
};
// Changes the reason shown for the job's state.
struct ExplainJob {
  std::string job;
  std::string reason;
};
struct StartTeacher {
  std::string digest;
};
// The process is gone or given up; it is started again when a job needs it.
struct LoseTeacher {
  std::string digest;
  std::string cause;
};
struct StopTeacher {
  std::string digest;
};

using FleetAction = std::variant<IssueGeneration, LaunchWorkers, MarkRunning, FailJob, ExplainJob, StartTeacher,
                                 LoseTeacher, StopTeacher>;

// A pure function. Actions name each job at most once.
std::vector<FleetAction> Decide(const FleetSnapshot& fleet, const JobPolicy& policy, absl::Time now);

// True for SUCCEEDED, FAILED and CANCELLED, which nothing follows.
bool IsFinal(v1::JobState state);

// "RUNNING" and so on, for messages.
std::string JobStateName(v1::JobState state);

// How long to wait before restart number `restarts` (1, 2, ...): half a second, doubled each time, at most half a
// minute.
absl::Duration RestartDelay(uint32_t restarts);

}  // namespace kd

#endif  // KD_CORE_JOB_STATE_H_
