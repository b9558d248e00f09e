#include "server/coordinator/coordinator.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/text.h"
#include "core/pair.h"
#include "server/coordinator/fleet_names.h"
#include "server/coordinator/submission.h"
#include "server/coordinator/timestamp.h"

namespace kd {
namespace {

// A worker that has said that it is done has this long to leave by itself.
constexpr absl::Duration kFarewell = absl::Seconds(10);
constexpr size_t kMaxRequestId = 128;
constexpr uint32_t kDefaultLimit = 100, kMaxLimit = 1000;
constexpr size_t kCheckpointsKept = 2;
// Every text and message that a job keeps is bounded, so that a list of jobs fits a message and a line fits a screen.
constexpr size_t kMaxPairBytes = 16 << 10;
constexpr size_t kMaxReportBytes = 16 << 10;
constexpr size_t kMaxReason = 1000;
// Half of what gRPC takes, and room for one more job.
constexpr size_t kMaxPageBytes = 2 << 20;

absl::Status NoSuchJob(const std::string& id) {
  return absl::NotFoundError(
      absl::StrCat("no job \"", Shorten(OneLine(id), kMaxRequestId), "\"; `kdctl get` lists them"));
}

absl::Status GenerationEnded(const std::string& id, uint32_t generation) {
  return absl::AbortedError(absl::StrCat("generation ", generation, " of job ", id, " has ended"));
}

// What a worker or teacher says is kept with the job or shown.
absl::Status CheckSize(const google::protobuf::MessageLite& report) {
  if (report.ByteSizeLong() <= kMaxReportBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("a request of ", report.ByteSizeLong(), " bytes; at most ", kMaxReportBytes, " are taken"));
}

absl::Status CheckDigest(const std::string& digest) {
  if (IsSha256Digest(digest)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", absl::CHexEscape(digest.substr(0, kMaxRequestId)),
                   "\" is no digest, expected sha256: and 64 lower-case hexadecimal digits"));
}

v1::JobEvent Event(v1::JobState state, const std::string& message, absl::Time now) {
  v1::JobEvent event;
  *event.mutable_time() = ToTimestamp(now);
  event.set_state(state);
  event.set_message(message);
  return event;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Create(CoordinatorOptions options, JobDatabase& database,
                                                                 Launcher& launcher, const Clock& clock) {
  std::unique_ptr<Coordinator> coordinator(new Coordinator(std::move(options), database, launcher, clock));
  KD_RETURN_IF_ERROR(coordinator->TakeUp());
  return coordinator;
}

Coordinator::Coordinator(CoordinatorOptions options, JobDatabase& database, Launcher& launcher, const Clock& clock)
    : options_(std::move(options)),
      database_(database),
      launcher_(launcher),
      clock_(clock),
      started_(clock.Now()),
      leases_(options_.tick_gap) {}

absl::Status Coordinator::TakeUp() {
  absl::MutexLock lock(&mutex_);
  leases_.Observe(clock_.Now());
  KD_ASSIGN_OR_RETURN(std::vector<v1::JobRecord> records, database_.Unfinished());
  for (v1::JobRecord& record : records) {
    auto job = std::make_unique<Running>();
    if (record.launched()) {
      job->ranks.resize(record.job().pair().train().workers());
      job->inherited = true;
      job->launched_generation = record.job().generation();
      if (options_.on_generation_started) {
        options_.on_generation_started(GenerationPrefix(record.job().id(), job->launched_generation));
      }
      for (uint32_t rank = 0; rank < job->ranks.size(); ++rank) {
        leases_.Grant(WorkerName(record.job().id(), record.job().generation(), rank), options_.lease);
      }
    }
    job->record = std::move(record);
    jobs_.push_back(std::move(job));
  }
  return TakeUpProcesses();
}

absl::Status Coordinator::TakeUpProcesses() {
  KD_ASSIGN_OR_RETURN(const std::vector<ProcessRow> rows, database_.Processes());
  for (const ProcessRow& row : rows) {
    const ProcessId process{.pid = row.pid, .start_ticks = row.start_ticks, .boot_id = row.boot_id};
    if (const std::string digest = TeacherOfName(row.name); !digest.empty()) {
      Teacher& teacher = teachers_[digest];
      teacher.weights_path = TeacherWeightsPath(options_.folder, digest);
      teacher.running = true;
      teacher.process = process;
      leases_.Grant(row.name, options_.lease);
      continue;
    }
    Rank* place = nullptr;
    for (const std::unique_ptr<Running>& job : jobs_) {
      for (uint32_t rank = 0; rank < job->ranks.size(); ++rank) {
        if (row.name == WorkerName(job->record.job().id(), job->record.job().generation(), rank))
          place = &job->ranks[rank];
      }
    }
    if (place != nullptr) {
      place->process = process;
    } else {
      Dismiss(row.name, process, SIGKILL, absl::ZeroDuration());
    }
  }
  if (!jobs_.empty()) LogInfo("took up ", jobs_.size(), " unfinished jobs and ", rows.size(), " processes");
  return absl::OkStatus();
}

void Coordinator::SetAddress(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  address_ = address;
}

Coordinator::Running* Coordinator::FindRunning(const std::string& id) {
  const auto found =
      std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& job) { return job->record.job().id() == id; });
  return found == jobs_.end() ? nullptr : found->get();
}

absl::StatusOr<v1::Job> Coordinator::FindJob(const std::string& id) {
  if (const Running* job = FindRunning(id)) return job->record.job();
  KD_ASSIGN_OR_RETURN(const std::optional<v1::JobRecord> record, database_.Find(id));
  if (!record.has_value()) return NoSuchJob(id);
  return record->job();
}

absl::StatusOr<Coordinator::Running*> Coordinator::FindGeneration(const std::string& id, uint32_t generation) {
  Running* const job = FindRunning(id);
  if (job == nullptr) {
    KD_RETURN_IF_ERROR(FindJob(id).status());
    return GenerationEnded(id, generation);
  }
  if (generation != job->record.job().generation() || !job->record.launched()) return GenerationEnded(id, generation);
  return job;
}

absl::StatusOr<Coordinator::Rank*> Coordinator::Hear(Running& job, uint32_t rank) {
  if (rank >= job.ranks.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, ": job ", job.record.job().id(), " has ", job.ranks.size(), " ranks"));
  }
  leases_.Grant(WorkerName(job.record.job().id(), job.record.job().generation(), rank), options_.lease);
  if (!job.ranks[rank].joined) {
    job.ranks[rank].joined = true;
    ++job.version;
    if (std::all_of(job.ranks.begin(), job.ranks.end(), [](const Rank& other) { return other.joined; }))
      job.inherited = false;
  }
  return &job.ranks[rank];
}

absl::Status Coordinator::Change(Running& job, v1::JobRecord next, const std::string& event) {
  std::optional<v1::JobEvent> entry;
  if (!event.empty()) entry = Event(next.job().state(), event, clock_.Now());
  KD_RETURN_IF_ERROR(database_.Update(next, entry));
  if (!event.empty()) LogInfo("job ", next.job().id(), " is ", JobStateName(next.job().state()), ": ", event);
  job.record = std::move(next);
  ++job.version;
  return absl::OkStatus();
}

absl::Status Coordinator::End(Running& job, v1::JobRecord next, v1::JobState state, const std::string& reason) {
  next.mutable_job()->set_state(state);
  next.mutable_job()->set_reason(OneLine(reason));
  if (next.job().has_progress()) next.mutable_job()->mutable_progress()->clear_phase();
  *next.mutable_job()->mutable_ended() = ToTimestamp(clock_.Now());
  KD_RETURN_IF_ERROR(Change(job, std::move(next), reason));
  DropGeneration(job);
  jobs_.erase(std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& other) { return other.get() == &job; }));
  return absl::OkStatus();
}

void Coordinator::DropGeneration(Running& job) {
  const std::string& id = job.record.job().id();
  // A generation that was issued anew has already counted on; the ranks still belong to the one before.
  for (uint32_t rank = 0; rank < job.ranks.size(); ++rank) {
    const Rank& place = job.ranks[rank];
    const std::string name = WorkerName(id, job.launched_generation, rank);
    leases_.Release(name);
    if (!place.process.has_value() || !place.exit.empty()) continue;
    if (place.finished) {
      Dismiss(name, *place.process, 0, kFarewell);
    } else {
      Dismiss(name, *place.process, SIGKILL, absl::ZeroDuration());
    }
  }
  if (!job.ranks.empty() && options_.on_generation_ended) {
    options_.on_generation_ended(GenerationPrefix(id, job.launched_generation));
  }
  job.ranks.clear();
  job.inherited = false;
}

absl::StatusOr<v1::Job> Coordinator::Submit(const v1::SubmitJobRequest& request) {
  if (request.request_id().size() > kMaxRequestId) {
    return absl::InvalidArgumentError(
        absl::StrCat("request id of ", request.request_id().size(), " bytes; at most ", kMaxRequestId));
  }
  // A client may send anything: the job file's rules hold for it, all of them.
  KD_ASSIGN_OR_RETURN(const v1::Pair pair, ParsePair(PairToYaml(request.pair()), "pair"));
  if (pair.ByteSizeLong() > kMaxPairBytes) {
    return absl::InvalidArgumentError(absl::StrCat("a job of ", pair.ByteSizeLong(), " bytes; at most ", kMaxPairBytes,
                                                   " are kept: shorten its texts and lists"));
  }
  const std::string pair_digest = Sha256Digest(PairToYaml(pair));
  const auto earlier = [&]() -> absl::StatusOr<std::optional<v1::Job>> {
    KD_ASSIGN_OR_RETURN(const std::optional<v1::JobRecord> record, database_.FindRequest(request.request_id()));
    if (!record.has_value()) return std::nullopt;
    if (record->pair_digest() != pair_digest) {
      return absl::AlreadyExistsError(absl::StrCat("request id \"", request.request_id(),
                                                   "\" was used for another pair (job ", record->job().id(),
                                                   "); choose a new one"));
    }
    return record->job();
  };
  if (pair.train().workers() > options_.max_workers) {
    return absl::InvalidArgumentError(absl::StrCat("train.workers is ", pair.train().workers(),
                                                   ", and this fleet's machine has room for ", options_.max_workers,
                                                   "; use at most that many"));
  }
  if (pair.train().workers() * pair.resources().gpus_per_worker() > options_.gpus) {
    return absl::InvalidArgumentError(absl::StrCat(
        "resources.gpus_per_worker is ", pair.resources().gpus_per_worker(), " for ", pair.train().workers(),
        " workers, and this fleet's machine has ", options_.gpus, " GPUs; use 0, or fewer workers"));
  }
  // The answer to a repeated call must not depend on whether the files are still there.
  if (!request.dry_run()) {
    KD_ASSIGN_OR_RETURN(const std::optional<v1::Job> job, earlier());
    if (job.has_value()) return Get(job->id());
  }

  // Files are read without the lock: they may be slow.
  v1::JobRecord record;
  v1::Job& job = *record.mutable_job();
  TeacherWeights weights;
  if (pair.has_teacher()) {
    KD_ASSIGN_OR_RETURN(weights, options_.find_teacher(pair.teacher()));
  }
  KD_ASSIGN_OR_RETURN(v1::Estimate estimate, CheckSubmission(pair, pair.has_teacher() ? &weights.bytes : nullptr));
  job.set_teacher_digest(weights.digest);
  if (pair.has_teacher() && !request.dry_run()) {
    KD_ASSIGN_OR_RETURN(*record.mutable_teacher_weights_path(), KeepTeacherWeights(weights, options_.folder));
  }
  *job.mutable_pair() = pair;
  job.set_state(v1::JOB_STATE_QUEUED);
  *job.mutable_created() = ToTimestamp(clock_.Now());
  record.set_request_id(request.request_id());
  record.set_pair_digest(pair_digest);

  absl::MutexLock lock(&mutex_);
  if (request.dry_run()) {
    estimate.set_jobs_ahead(static_cast<uint32_t>(jobs_.size()));
    *job.mutable_estimate() = estimate;
    return job;
  }
  KD_ASSIGN_OR_RETURN(const std::optional<v1::Job> twin, earlier());
  if (twin.has_value()) return FindJob(twin->id());
  KD_ASSIGN_OR_RETURN(const uint64_t number, database_.NextNumber());
  job.set_id(absl::StrCat(pair.metadata().name(), "-", number));
  const std::string rival = SharesTag(pair);
  job.set_reason(rival.empty() ? "accepted"
                               : absl::StrCat("accepted; ", rival, " pushes ", pair.output().name(), ":",
                                              pair.output().tag(), " too, and the tag is whose ends last"));
  KD_RETURN_IF_ERROR(database_.Insert(record, Event(job.state(), job.reason(), clock_.Now())));
  LogInfo("job ", job.id(), " ", job.reason());
  jobs_.push_back(std::make_unique<Running>());
  jobs_.back()->record = record;
  return job;
}

std::string Coordinator::SharesTag(const v1::Pair& pair) const {
  if (pair.output().name().empty()) return "";
  for (const std::unique_ptr<Running>& other : jobs_) {
    const v1::Output& output = other->record.job().pair().output();
    if (output.name() == pair.output().name() && output.tag() == pair.output().tag()) return other->record.job().id();
  }
  return "";
}

absl::StatusOr<v1::Job> Coordinator::Get(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  return FindJob(id);
}

absl::StatusOr<v1::ListJobsResponse> Coordinator::List(const v1::ListJobsRequest& request) {
  const uint32_t limit = std::min(request.limit() == 0 ? kDefaultLimit : request.limit(), kMaxLimit);
  absl::MutexLock lock(&mutex_);
  absl::StatusOr<std::vector<v1::JobRecord>> records = database_.Newest(limit, request.name(), request.page_token());
  if (absl::IsNotFound(records.status())) {
    return absl::InvalidArgumentError(absl::StrCat("no page follows \"",
                                                   absl::CHexEscape(request.page_token().substr(0, kMaxRequestId)),
                                                   "\"; use the token of the page before"));
  }
  KD_RETURN_IF_ERROR(records.status());
  v1::ListJobsResponse page;
  size_t bytes = 0;
  for (v1::JobRecord& record : *records) {
    const Running* const running = FindRunning(record.job().id());
    *page.add_jobs() = running == nullptr ? std::move(*record.mutable_job()) : running->record.job();
    bytes += page.jobs(page.jobs_size() - 1).ByteSizeLong();
    if (bytes > kMaxPageBytes) break;
  }
  if (bytes > kMaxPageBytes || records->size() == limit) page.set_next_page_token(page.jobs(page.jobs_size() - 1).id());
  return page;
}

absl::StatusOr<v1::Job> Coordinator::Cancel(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  if (Running* const job = FindRunning(id))
    KD_RETURN_IF_ERROR(End(*job, job->record, v1::JOB_STATE_CANCELLED, "cancelled on request"));
  KD_ASSIGN_OR_RETURN(v1::Job job, FindJob(id));
  if (job.state() != v1::JOB_STATE_CANCELLED) {
    return absl::FailedPreconditionError(absl::StrCat("job ", id, " has already ended as ", JobStateName(job.state())));
  }
  return job;
}

absl::StatusOr<Coordinator::Sighting> Coordinator::Watch(const std::string& id, uint64_t seen, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto changed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const Running* const job = FindRunning(id);
    return job == nullptr || job->version != seen;
  };
  mutex_.AwaitWithDeadline(absl::Condition(&changed), deadline);
  const Running* const job = FindRunning(id);
  Sighting sighting{.version = job == nullptr ? 0 : job->version};
  KD_ASSIGN_OR_RETURN(sighting.job, FindJob(id));
  return sighting;
}

absl::StatusOr<std::vector<v1::JobEvent>> Coordinator::Events(const std::string& id) {
  absl::MutexLock lock(&mutex_);
  KD_RETURN_IF_ERROR(FindJob(id).status());
  return database_.Events(id);
}

std::vector<v1::TeacherReplica> Coordinator::Teachers() {
  absl::MutexLock lock(&mutex_);
  std::vector<v1::TeacherReplica> replicas;
  for (const auto& [digest, teacher] : teachers_) {
    v1::TeacherReplica& replica = replicas.emplace_back();
    replica.set_digest(digest);
    replica.set_address(teacher.address);
    replica.set_metrics_url(teacher.metrics_url);
    replica.set_state(teacher.ready ? "ready" : teacher.running ? "starting" : "lost");
    if (teacher.process.has_value()) replica.set_pid(teacher.process->pid);
    if (teacher.last_seen != absl::InfinitePast()) *replica.mutable_last_seen() = ToTimestamp(teacher.last_seen);
  }
  return replicas;
}

v1::Fleet Coordinator::Fleet() {
  v1::Fleet fleet;
  fleet.set_version(options_.version);
  fleet.set_registry_url(options_.registry_url);
  fleet.set_cpus(std::thread::hardware_concurrency());
  fleet.set_gpus(options_.gpus);
  fleet.set_folder(options_.folder);
  *fleet.mutable_started() = ToTimestamp(started_);
  return fleet;
}

absl::StatusOr<std::vector<std::string>> Coordinator::LogPaths(const std::string& id) {
  KD_ASSIGN_OR_RETURN(const v1::Job job, Get(id));
  std::vector<std::string> paths;
  for (uint32_t rank = 0; rank < job.pair().train().workers(); ++rank) {
    paths.push_back(WorkerLogPath(JobFolder(options_.folder, id), rank));
  }
  return paths;
}

std::string Coordinator::TeacherAddress(const std::string& digest) const {
  const auto teacher = teachers_.find(digest);
  return teacher == teachers_.end() || !teacher->second.ready ? "" : teacher->second.address;
}

std::vector<std::string> Coordinator::WorkerCommand(const std::string& job, uint32_t generation, uint32_t rank) const {
  return {options_.programs + "/kd-worker", "train",  "--job",           job, "--generation",
          absl::StrCat(generation),         "--rank", absl::StrCat(rank)};
}

absl::Status Coordinator::TakeUpWorker(Running& job, const v1::JoinRequest& request) {
  if (request.rank() >= job.ranks.size() || job.ranks[request.rank()].process.has_value()) return absl::OkStatus();
  // It will be killed by this number: it must be what this fleet started, whoever says so.
  const absl::StatusOr<ProcessId> process =
      launcher_.Find(request.pid(), WorkerCommand(request.job_id(), request.generation(), request.rank()));
  if (!process.ok()) return absl::PermissionDeniedError(process.status().message());
  job.ranks[request.rank()].process = *process;
  Remember(WorkerName(request.job_id(), request.generation(), request.rank()), *process);
  return absl::OkStatus();
}

absl::StatusOr<v1::Assignment> Coordinator::Join(const v1::JoinRequest& request) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Running* const job, FindGeneration(request.job_id(), request.generation()));
  KD_RETURN_IF_ERROR(TakeUpWorker(*job, request));
  KD_RETURN_IF_ERROR(Hear(*job, request.rank()).status());
  const v1::JobRecord& record = job->record;
  v1::Assignment assignment;
  *assignment.mutable_pair() = record.job().pair();
  assignment.set_generation(record.job().generation());
  assignment.set_rank(request.rank());
  assignment.set_world_size(static_cast<uint32_t>(job->ranks.size()));
  assignment.set_teacher_digest(record.job().teacher_digest());
  assignment.set_teacher_weights_path(record.teacher_weights_path());
  assignment.set_teacher_address(TeacherAddress(record.job().teacher_digest()));
  if (record.checkpoints_size() > 0) {
    assignment.set_checkpoint_path(record.checkpoints(0).path());
    assignment.set_checkpoint_digest(record.checkpoints(0).digest());
  }
  assignment.set_job_folder(JobFolder(options_.folder, record.job().id()));
  assignment.set_registry_url(options_.registry_url);
  assignment.set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.lease)));
  return assignment;
}

absl::StatusOr<v1::HeartbeatResponse> Coordinator::Heartbeat(const v1::HeartbeatRequest& request) {
  KD_RETURN_IF_ERROR(CheckSize(request));
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Running* const job, FindGeneration(request.job_id(), request.generation()));
  KD_RETURN_IF_ERROR(Hear(*job, request.rank()).status());
  if (request.rank() == 0 && request.has_progress()) {
    *job->record.mutable_job()->mutable_progress() = request.progress();
    ++job->version;
  }
  v1::HeartbeatResponse response;
  response.set_teacher_address(TeacherAddress(job->record.job().teacher_digest()));
  return response;
}

absl::StatusOr<v1::CommitCheckpointResponse> Coordinator::CommitCheckpoint(const v1::CommitCheckpointRequest& request) {
  KD_RETURN_IF_ERROR(CheckSize(request));
  KD_RETURN_IF_ERROR(CheckDigest(request.digest()));
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Running* const job, FindGeneration(request.job_id(), request.generation()));
  if (request.step() < job->record.job().checkpoint_step()) {
    return absl::InvalidArgumentError(absl::StrCat("step ", request.step(), " comes before step ",
                                                   job->record.job().checkpoint_step(), ", which is committed"));
  }
  // Workers delete what is obsolete: nothing else may ever get there.
  if (!IsCheckpointPath(JobFolder(options_.folder, request.job_id()), request.path())) {
    return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(request.path().substr(0, kMaxRequestId)),
                                                   "\" is not a file in the job's folder of checkpoints"));
  }
  v1::JobRecord next = job->record;
  v1::CommitCheckpointResponse response;
  next.clear_checkpoints();
  v1::JobRecord::Checkpoint* const newest = next.add_checkpoints();
  newest->set_step(request.step());
  newest->set_path(request.path());
  newest->set_digest(request.digest());
  for (const v1::JobRecord::Checkpoint& old : job->record.checkpoints()) {
    if (old.path() == request.path()) continue;
    if (next.checkpoints_size() < static_cast<int>(kCheckpointsKept)) {
      *next.add_checkpoints() = old;
    } else {
      response.add_obsolete_paths(old.path());
    }
  }
  if (request.step() > job->record.job().checkpoint_step()) next.set_restarts(0);
  next.mutable_job()->set_checkpoint_step(request.step());
  KD_RETURN_IF_ERROR(Change(*job, std::move(next), ""));
  return response;
}

absl::Status Coordinator::Finish(const v1::FinishRequest& request) {
  KD_RETURN_IF_ERROR(CheckSize(request));
  absl::MutexLock lock(&mutex_);
  const absl::StatusOr<Running*> found = FindGeneration(request.job_id(), request.generation());
  if (absl::IsAborted(found.status())) {
    // The answer to an earlier call was lost.
    KD_ASSIGN_OR_RETURN(const v1::Job job, FindJob(request.job_id()));
    if (job.state() == v1::JOB_STATE_SUCCEEDED && job.generation() == request.generation()) return absl::OkStatus();
  }
  KD_RETURN_IF_ERROR(found.status());
  Running& job = **found;
  KD_ASSIGN_OR_RETURN(Rank* const rank, Hear(job, request.rank()));
  rank->finished = true;
  if (request.rank() != 0) return absl::OkStatus();
  v1::JobRecord next = job.record;
  *next.mutable_job()->mutable_outcome() = request.outcome();
  if (request.has_progress()) *next.mutable_job()->mutable_progress() = request.progress();
  const std::string& artifact = request.outcome().artifact();
  return End(job, std::move(next), v1::JOB_STATE_SUCCEEDED,
             artifact.empty() ? "finished" : absl::StrCat("finished; pushed ", artifact));
}

absl::Status Coordinator::Fail(const v1::FailRequest& request) {
  absl::MutexLock lock(&mutex_);
  KD_ASSIGN_OR_RETURN(Running* const job, FindGeneration(request.job_id(), request.generation()));
  KD_ASSIGN_OR_RETURN(Rank* const rank, Hear(*job, request.rank()));
  // All ranks of a generation start from one file: when two find it damaged, the one before it stays.
  const bool known_bad =
      std::any_of(job->ranks.begin(), job->ranks.end(), [](const Rank& other) { return other.bad_checkpoint; });
  if (request.bad_checkpoint() && !known_bad && job->record.checkpoints_size() > 0) {
    v1::JobRecord next = job->record;
    const std::string path = next.checkpoints(0).path();
    next.mutable_checkpoints()->DeleteSubrange(0, 1);
    const uint64_t step = next.checkpoints_size() > 0 ? next.checkpoints(0).step() : 0;
    next.mutable_job()->set_checkpoint_step(step);
    KD_RETURN_IF_ERROR(
        Change(*job, std::move(next), absl::StrCat("checkpoint ", path, " is damaged; going back to step ", step)));
  }
  rank->bad_checkpoint = request.bad_checkpoint();
  rank->failure = request.message().empty() ? "gave no reason" : Shorten(OneLine(request.message()), kMaxReason);
  rank->permanent = request.permanent();
  return absl::OkStatus();
}

absl::StatusOr<v1::RegisterTeacherResponse> Coordinator::RegisterTeacher(const v1::RegisterTeacherRequest& request) {
  KD_RETURN_IF_ERROR(CheckDigest(request.digest()));
  if (request.address().size() + request.metrics_url().size() > kMaxReason) {
    return absl::InvalidArgumentError(absl::StrCat("addresses of more than ", kMaxReason, " bytes"));
  }
  absl::MutexLock lock(&mutex_);
  const auto found = teachers_.find(request.digest());
  if (found == teachers_.end() || !found->second.running ||
      (found->second.process.has_value() && found->second.process->pid != request.pid())) {
    return absl::AbortedError(
        absl::StrCat("teacher ", request.digest(), " is no longer this fleet's (process ", request.pid(), ")"));
  }
  Teacher& teacher = found->second;
  leases_.Grant(TeacherName(request.digest()), options_.lease);
  teacher.last_seen = clock_.Now();
  teacher.refusal = Shorten(OneLine(request.error()), kMaxReason);
  teacher.address = request.address();
  teacher.metrics_url = request.metrics_url();
  if (request.ready() && !teacher.ready) LogInfo("teacher ", request.digest(), " is ready at ", request.address());
  teacher.ready = request.ready();
  if (teacher.ready) teacher.restarts = 0;
  v1::RegisterTeacherResponse response;
  response.set_lease_ms(static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.lease)));
  return response;
}

absl::Status Coordinator::Ready() {
  if (::access(options_.folder.c_str(), R_OK | W_OK | X_OK) != 0) {
    return absl::UnavailableError(absl::StrCat("\"", options_.folder, "\" cannot be read and written"));
  }
  return database_.Processes().status();
}

Coordinator::Counters Coordinator::Count() {
  absl::MutexLock lock(&mutex_);
  Counters counters{.worker_restarts = worker_restarts_, .teacher_restarts = teacher_restarts_};
  for (const v1::JobState state : {v1::JOB_STATE_QUEUED, v1::JOB_STATE_STARTING, v1::JOB_STATE_RUNNING})
    counters.jobs[state] = 0;
  for (const std::unique_ptr<Running>& job : jobs_) ++counters.jobs[job->record.job().state()];
  for (const auto& [digest, teacher] : teachers_) counters.ready_teachers += teacher.ready ? 1 : 0;
  return counters;
}

}  // namespace kd
