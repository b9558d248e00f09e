#include "worker/fleet_worker.h"

#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http/ops_endpoints.h"
#include "base/log.h"
#include "base/status.h"
#include "data/dataset.h"
#include "models/device.h"
#include "models/torch_status.h"
#include "prometheus/registry.h"
#include "server/coordinator/coordinator_client.h"
#include "server/coordinator/fleet_names.h"
#include "server/coordinator/rendezvous_client.h"
#include "worker/finish_student.h"
#include "worker/heartbeat.h"
#include "worker/process_group_sync.h"
#include "worker/response_source.h"
#include "worker/standalone.h"
#include "worker/trainer.h"
#include "worker/worker_metrics.h"

namespace kd {
namespace {

// A coordinator that stays away for longer will find the job's last checkpoint; this process is of no use to it.
constexpr absl::Duration kPatience = absl::Minutes(10);
// The first call may meet a coordinator that is still starting.
constexpr absl::Duration kJoinPatience = absl::Minutes(1);
// A step at work when the generation ends has this long to come to its border. What hangs in a collective never does,
// and Gloo cannot be told to give up.
constexpr absl::Duration kGrace = absl::Seconds(5);

// Ranks of one machine share its cores, unless the job or the environment says how.
void ChooseThreads(uint32_t wanted, uint32_t ranks_here) {
  const unsigned cores = std::thread::hardware_concurrency();
  if (wanted > 0) {
    torch::set_num_threads(static_cast<int>(wanted));
  } else if (ranks_here > 1 && std::getenv("OMP_NUM_THREADS") == nullptr) {
    torch::set_num_threads(static_cast<int>(std::max(1u, cores / ranks_here)));
  }
}

class FleetWorker {
 public:
  explicit FleetWorker(const FleetWorkerOptions& options)
      : client_(options.coordinator, kPatience),
        farewell_(options.coordinator, kJoinPatience),
        rendezvous_(options.coordinator, kJoinPatience) {
    self_.set_job_id(options.job);
    self_.set_generation(options.generation);
    self_.set_rank(options.rank);
    self_.set_pid(::getpid());
  }

  ~FleetWorker() {
    sync_.reset();
    gone_.Notify();
  }

  absl::Status Run() {
    KD_ASSIGN_OR_RETURN(assignment_, farewell_.Join(self_));
    device_ = ChooseDevice(self_.rank());
    const absl::Status status = CatchTorch("training", [this] { return Work(); });
    if (!status.ok() && !absl::IsAborted(status)) TellFailure(status);
    return status;
  }

 private:
  absl::Status Work() {
    const v1::Pair& pair = assignment_.pair();
    heartbeat_ = std::make_unique<Heartbeat>(client_, self_, assignment_, [this] { LeaveSoon(); });
    if (assignment_.world_size() > 1) KD_RETURN_IF_ERROR(MeetOthers());
    ChooseThreads(pair.train().threads(), sync_ == nullptr ? 1 : sync_->ranks_here());
    KD_RETURN_IF_ERROR(ServeMetrics());
    KD_RETURN_IF_ERROR(CheckCheckpoint());
    KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(pair.data()));
    KD_ASSIGN_OR_RETURN(const ViewMaker views, ViewMaker::Open(pair.data(), *dataset));
    KD_ASSIGN_OR_RETURN(TrainerOptions options, MakeTrainerOptions(*dataset, views));
    heartbeat_->ReportPhase(options.source == nullptr ? "starting" : "waiting for the teacher");
    KD_ASSIGN_OR_RETURN(DetectorModel student, Train(std::move(options)));

    v1::FinishRequest finish;
    finish.set_job_id(self_.job_id());
    finish.set_generation(self_.generation());
    finish.set_rank(self_.rank());
    if (self_.rank() == 0) {
      // A generation that began at the last step has trained nothing.
      if (progress_.total_steps() > 0) *finish.mutable_progress() = progress_;
      KD_ASSIGN_OR_RETURN(
          *finish.mutable_outcome(),
          FinishStudent(*student, {.pair = pair,
                                   .dataset = dataset.get(),
                                   .folder = assignment_.job_folder(),
                                   .teacher_digest = assignment_.teacher_digest(),
                                   .registry_url = assignment_.registry_url(),
                                   .on_phase = [this](const std::string& phase) { heartbeat_->ReportPhase(phase); }}));
    }
    LogInfo("finished",
            finish.outcome().artifact().empty() ? "" : absl::StrCat("; pushed ", finish.outcome().artifact()));
    heartbeat_->ExpectEnd();
    return client_.Finish(finish);
  }

  absl::Status MeetOthers() {
    heartbeat_->ReportPhase("waiting for the other workers");
    ProcessGroupOptions options{.rank = self_.rank(),
                                .world_size = assignment_.world_size(),
                                .prefix = GenerationPrefix(self_.job_id(), self_.generation()),
                                .device = device_,
                                // A rank may wait that long for the coordinator to take a checkpoint.
                                .timeout = kPatience + absl::Minutes(1)};
    KD_ASSIGN_OR_RETURN(sync_, ProcessGroupSync::Create(options, rendezvous_));
    return absl::OkStatus();
  }

  absl::Status ServeMetrics() {
    HttpRoutes routes;
    AddOpsEndpoints(registry_, [] { return absl::OkStatus(); }, routes);
    KD_ASSIGN_OR_RETURN(ops_, HttpServer::Start({.listen = "127.0.0.1:0"}, routes));
    LogInfo("rank ", self_.rank(), " of job ", self_.job_id(), ", generation ", self_.generation(),
            "; metrics on http://", ops_->address(), "/metrics");
    return absl::OkStatus();
  }

  // The generation has ended: there is nobody to tell anything, and nothing to keep that a checkpoint doesn't hold.
  void LeaveSoon() {
    if (gone_.WaitForNotificationWithTimeout(kGrace)) return;
    LogWarning("a step did not end within ", absl::FormatDuration(kGrace), "; leaving without it");
    ::_exit(EXIT_FAILURE);
  }

  // The file must be the one that was committed.
  absl::Status CheckCheckpoint() {
    const std::string& path = assignment_.checkpoint_path();
    if (path.empty()) return absl::OkStatus();
    const absl::StatusOr<std::string> bytes = ReadFile(path);
    if (bytes.ok() && Sha256Digest(*bytes) == assignment_.checkpoint_digest()) return absl::OkStatus();
    // What cannot be read now may be readable at the next try.
    bad_checkpoint_ = bytes.ok() || absl::IsNotFound(bytes.status());
    if (!bytes.ok()) return Annotate(bytes.status(), "checkpoint");
    return absl::DataLossError(absl::StrCat("checkpoint ", path, " is ", Sha256Digest(*bytes), ", but ",
                                            assignment_.checkpoint_digest(),
                                            " was committed; the one before it is used"));
  }

  absl::StatusOr<TrainerOptions> MakeTrainerOptions(const Dataset& dataset, const ViewMaker& views) {
    const v1::Pair& pair = assignment_.pair();
    TrainerOptions options;
    options.pair = pair;
    options.folder = assignment_.job_folder();
    options.dataset = &dataset;
    options.views = &views;
    options.checkpoint = assignment_.checkpoint_path();
    options.sync = sync_.get();
    options.device = device_;
    if (pair.has_teacher()) {
      KD_ASSIGN_OR_RETURN(options.teacher_weights, ReadFile(assignment_.teacher_weights_path()));
      KD_ASSIGN_OR_RETURN(v1::StreamResponsesRequest request,
                          ResponsesFor(pair, self_.job_id(), assignment_.teacher_digest(), dataset, views));
      options.source =
          NewRemoteSource({.request = std::move(request), .address = [this] { return heartbeat_->TeacherAddress(); }});
    }
    options.on_progress = [this](const v1::Progress& progress) {
      progress_ = progress;
      if (self_.rank() == 0) heartbeat_->Report(progress);
      metrics_.Show(progress);
      LogInfo(ProgressLine(progress));
    };
    options.on_checkpoint = [this](uint64_t step, const std::string& path, const std::string& file_digest) {
      return Commit(step, path, file_digest);
    };
    options.should_go_on = [this] { return heartbeat_->GoesOn(); };
    return options;
  }

  absl::StatusOr<std::vector<std::string>> Commit(uint64_t step, const std::string& path, const std::string& digest) {
    v1::CommitCheckpointRequest request;
    request.set_job_id(self_.job_id());
    request.set_generation(self_.generation());
    request.set_step(step);
    request.set_path(path);
    request.set_digest(digest);
    KD_ASSIGN_OR_RETURN(const v1::CommitCheckpointResponse response, client_.CommitCheckpoint(request));
    return std::vector<std::string>(response.obsolete_paths().begin(), response.obsolete_paths().end());
  }

  void TellFailure(const absl::Status& status) {
    v1::FailRequest request;
    request.set_job_id(self_.job_id());
    request.set_generation(self_.generation());
    request.set_rank(self_.rank());
    request.set_code(static_cast<int32_t>(status.code()));
    request.set_message(std::string(status.message()));
    request.set_bad_checkpoint(bad_checkpoint_);
    // The others may be mended by another try: a lost peer, a full disk, a machine out of memory.
    request.set_permanent(!bad_checkpoint_ && (absl::IsInvalidArgument(status) || absl::IsNotFound(status) ||
                                               absl::IsFailedPrecondition(status) || absl::IsDataLoss(status) ||
                                               absl::IsUnimplemented(status)));
    const absl::Status told = farewell_.Fail(request);
    if (!told.ok()) LogWarning("the coordinator does not know why this worker ends: ", told.message());
  }

  CoordinatorClient client_;
  // For the first word and the last one, which outlive the heartbeat.
  CoordinatorClient farewell_;
  RendezvousClient rendezvous_;
  v1::JoinRequest self_;
  v1::Assignment assignment_;
  torch::Device device_ = torch::kCPU;
  bool bad_checkpoint_ = false;
  // The last report of the trainer.
  v1::Progress progress_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  WorkerMetrics metrics_{*registry_};
  std::unique_ptr<HttpServer> ops_;
  // The group is gone.
  absl::Notification gone_;
  std::unique_ptr<Heartbeat> heartbeat_;
  // Outlives the last word to the coordinator: who loses this rank's connections must not be heard before this rank is.
  std::unique_ptr<ProcessGroupSync> sync_;
};

}  // namespace

absl::Status RunFleetWorker(const FleetWorkerOptions& options) { return FleetWorker(options).Run(); }

}  // namespace kd
