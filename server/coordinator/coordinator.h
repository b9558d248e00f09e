// The fleet's jobs, teachers and their processes: what they are, what is known of them, and what is done about it.
#ifndef KD_SERVER_COORDINATOR_COORDINATOR_H_
#define KD_SERVER_COORDINATOR_COORDINATOR_H_

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "core/job_state.h"
#include "core/lease.h"
#include "kd/v1/coordinator.pb.h"
#include "server/coordinator/process.h"
#include "server/coordinator/teacher_weights.h"
#include "storage/sqlite/job_database.h"

namespace kd {

struct CoordinatorOptions {
  // Jobs live in FOLDER/jobs/ID, with one log per rank in logs/, teachers in FOLDER/teachers/HEX. Absolute.
  std::string folder;
  std::string registry_url;
  std::string version;
  // Folder of kd-worker and kd-teacher.
  std::string programs;
  JobPolicy policy;
  // Worker processes of one job.
  uint32_t max_workers = std::max(2u, std::thread::hardware_concurrency());
  // Of this machine.
  uint32_t gpus = 0;
  // A worker or teacher that is silent for longer is given up.
  absl::Duration lease = absl::Seconds(10);
  // From the start of a process to its first word.
  absl::Duration start_lease = absl::Minutes(2);
  // Longest time between two calls of Tick() that counts as its holders' silence.
  absl::Duration tick_gap = absl::Seconds(1);
  // Reads a teacher's weights (teacher_weights.h). NOT_FOUND, INVALID_ARGUMENT, UNAVAILABLE: says which and what to do.
  std::function<absl::StatusOr<TeacherWeights>(const v1::TeacherSpec&)> find_teacher;
  // Told the prefix "JOB/GENERATION/" of every generation before its workers start or are taken up, and of every one
  // that has ended. Must not call the coordinator.
  std::function<void(const std::string&)> on_generation_started;
  std::function<void(const std::string&)> on_generation_ended;
};

// Thread-safe. What a call acknowledges is on disk. Nothing happens by itself: call Tick() about five times a second.
//
// Unknown jobs are NOT_FOUND; a generation that has ended is ABORTED.
class Coordinator {
 public:
  // Takes up the jobs and processes that an earlier coordinator left. References outlive the coordinator.
  static absl::StatusOr<std::unique_ptr<Coordinator>> Create(CoordinatorOptions options, JobDatabase& database,
                                                             Launcher& launcher, const Clock& clock = Clock::Real());

  // Where workers and teachers reach the coordinator's services; before the first Tick().
  void SetAddress(const std::string& address);

  // For people.
  // Writes the job down, then returns it; with dry_run only checks and estimates. ALREADY_EXISTS: the request id was
  // used with another pair. INVALID_ARGUMENT: the pair. NOT_FOUND: its data set or teacher.
  absl::StatusOr<v1::Job> Submit(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::Job> Get(const std::string& id);
  absl::StatusOr<v1::ListJobsResponse> List(const v1::ListJobsRequest& request);
  // FAILED_PRECONDITION: it has ended otherwise.
  absl::StatusOr<v1::Job> Cancel(const std::string& id);
  struct Sighting {
    v1::Job job;
    uint64_t version = 0;
  };
  // Waits until the job is not as it was at `seen` (0: returns at once), has ended, or the deadline is over.
  absl::StatusOr<Sighting> Watch(const std::string& id, uint64_t seen, absl::Time deadline);
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& id);
  std::vector<v1::TeacherReplica> Teachers();
  v1::Fleet Fleet();
  // One log per rank, in order; a rank that was never started has none yet.
  absl::StatusOr<std::vector<std::string>> LogPaths(const std::string& id);

  // For workers and teachers.
  absl::StatusOr<v1::Assignment> Join(const v1::JoinRequest& request);
  absl::StatusOr<v1::HeartbeatResponse> Heartbeat(const v1::HeartbeatRequest& request);
  absl::StatusOr<v1::CommitCheckpointResponse> CommitCheckpoint(const v1::CommitCheckpointRequest& request);
  absl::Status Finish(const v1::FinishRequest& request);
  absl::Status Fail(const v1::FailRequest& request);
  absl::StatusOr<v1::RegisterTeacherResponse> RegisterTeacher(const v1::RegisterTeacherRequest& request);

  // Looks after processes and leases and does what Decide() says.
  void Tick();

  // Ends every worker and teacher: SIGTERM, and SIGKILL after `grace`. Returns when they are gone. Jobs stay as they
  // are; the next coordinator goes on with them from their checkpoints. No Tick() may follow.
  void EndProcesses(absl::Duration grace);

  // For /metrics.
  struct Counters {
    std::map<v1::JobState, int> jobs;  // that have not ended, by state
    int ready_teachers = 0;
    uint64_t worker_restarts = 0;  // since this coordinator started
    uint64_t teacher_restarts = 0;
  };
  Counters Count();
  // OK when its folder and database can be used. UNAVAILABLE and what the database says.
  absl::Status Ready();

 private:
  struct Rank {
    bool joined = false;
    bool finished = false;
    std::optional<ProcessId> process;
    std::string exit;
    std::string failure;
    bool permanent = false;
    bool bad_checkpoint = false;
  };
  struct Running {
    v1::JobRecord record;
    // Of generation `launched_generation`; empty while none has been launched.
    std::vector<Rank> ranks;
    uint32_t launched_generation = 0;
    bool inherited = false;
    uint64_t version = 1;
  };
  struct Teacher {
    std::string weights_path;
    bool running = false;
    bool ready = false;
    std::optional<ProcessId> process;
    std::string exit;
    std::string refusal;
    std::string address;
    std::string metrics_url;
    absl::Time last_seen = absl::InfinitePast();
    absl::Time unused_since = absl::InfiniteFuture();
    absl::Time not_before = absl::InfinitePast();
    uint32_t restarts = 0;
  };
  // A process that nobody waits for any more and that has been told to end.
  struct Leaving {
    std::string name;
    ProcessId process;
    absl::Time kill_at;
  };

  Coordinator(CoordinatorOptions options, JobDatabase& database, Launcher& launcher, const Clock& clock);
  absl::Status TakeUp();
  absl::Status TakeUpProcesses() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Null: it has ended, or there is none.
  Running* FindRunning(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::Job> FindJob(const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The running job whose current generation this is.
  absl::StatusOr<Running*> FindGeneration(const std::string& id, uint32_t generation)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A rank of it, its lease renewed.
  absl::StatusOr<Rank*> Hear(Running& job, uint32_t rank) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The rank's process, when an earlier coordinator died between starting it and writing its number down.
  absl::Status TakeUpWorker(Running& job, const v1::JoinRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The command line of a rank begins with it.
  std::vector<std::string> WorkerCommand(const std::string& job, uint32_t generation, uint32_t rank) const;
  std::string TeacherAddress(const std::string& digest) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The job that is about to push what `pair` wants to push, too; empty: none.
  std::string SharesTag(const v1::Pair& pair) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Writes `next` (and an event) down and makes it the job's record; ends the job when `next` has ended.
  absl::Status Change(Running& job, v1::JobRecord next, const std::string& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // `job` is gone afterwards.
  absl::Status End(Running& job, v1::JobRecord next, v1::JobState state, const std::string& reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Its processes are told to end and waited for in leaving_.
  void DropGeneration(Running& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(const std::string& name, const ProcessId& process) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const std::string& name, const ProcessId& process) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Sends `signal` (0: none) now and SIGKILL after `grace`.
  void Dismiss(const std::string& name, const ProcessId& process, int signal, absl::Duration grace)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  uint32_t CountLeaving(const std::string& prefix) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void PollProcesses() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  FleetSnapshot Snapshot() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const IssueGeneration& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const LaunchWorkers& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const MarkRunning& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const FailJob& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const ExplainJob& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const StartTeacher& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const LoseTeacher& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Do(const StopTeacher& action) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CoordinatorOptions options_;
  JobDatabase& database_;
  Launcher& launcher_;
  const Clock& clock_;
  const absl::Time started_;

  absl::Mutex mutex_;
  std::string address_ ABSL_GUARDED_BY(mutex_);
  LeaseTable leases_ ABSL_GUARDED_BY(mutex_);
  // Jobs that have not ended, in the order of submission.
  std::vector<std::unique_ptr<Running>> jobs_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Teacher> teachers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Leaving> leaving_ ABSL_GUARDED_BY(mutex_);
  uint64_t worker_restarts_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t teacher_restarts_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_COORDINATOR_H_
