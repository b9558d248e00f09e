#include "server/coordinator/coordinator.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "core/pair.h"
#include "core/safetensors.h"
#include "data/fake_dataset.h"
#include "data/simulator.h"
#include "google/protobuf/util/json_util.h"
#include "server/coordinator/fake_launcher.h"
#include "server/coordinator/fleet_names.h"

namespace kd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const std::string kDigest = "sha256:" + std::string(64, 'a');

class CoordinatorTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    data_ = new TemporaryFolder;
    SimulatorOptions options;
    options.root = *data_ / "sim";
    options.train_frames = 4;
    options.val_frames = 2;
    ASSERT_THAT(WriteSimulatedKitti(options, [](uint32_t, uint32_t) {}), IsOk());
    SafeTensorsFile weights;
    const v1::Detector detector = *BuiltInDetector("centerpoint_pillar_sim");
    ASSERT_TRUE(google::protobuf::util::MessageToJsonString(detector, &weights.metadata[kWeightsDetectorKey]).ok());
    ASSERT_THAT(WriteFileAtomically(*data_ / "teacher.safetensors", SerializeSafeTensors(weights)), IsOk());
  }
  static void TearDownTestSuite() { delete data_; }

  void SetUp() override {
    auto database = JobDatabase::Open(folder_ / "jobs.sqlite");
    ASSERT_THAT(database, IsOk());
    database_ = *std::move(database);
    StartCoordinator();
  }

  // As a process that was killed and started again: only disk and processes are left.
  void StartCoordinator() {
    coordinator_.reset();
    CoordinatorOptions options{
        .folder = folder_.path(), .registry_url = "http://registry", .version = "1", .programs = "/bin"};
    options.policy.max_jobs = 2;
    options.tick_gap = absl::Hours(1);
    options.find_teacher = [this](const v1::TeacherSpec& spec) {
      return ReadTeacherWeights(spec, folder_.path(), "http://127.0.0.1:1");
    };
    options.on_generation_started = [this](const std::string& prefix) { started_.push_back(prefix); };
    options.on_generation_ended = [this](const std::string& prefix) { ended_.push_back(prefix); };
    auto coordinator = Coordinator::Create(std::move(options), *database_, launcher_, clock_);
    ASSERT_THAT(coordinator, IsOk());
    coordinator_ = *std::move(coordinator);
    coordinator_->SetAddress("127.0.0.1:7070");
  }

  v1::Pair Pair(bool with_teacher, uint32_t workers = 1) {
    v1::Pair pair;
    pair.set_api_version("kd/v1");
    pair.set_kind("Pair");
    pair.mutable_metadata()->set_name("half");
    pair.mutable_student()->set_model("centerpoint_pillar_sim");
    pair.mutable_data()->set_format("kitti");
    pair.mutable_data()->set_root(*data_ / "sim");
    for (const char* name : {"Car", "Pedestrian", "Cyclist"}) pair.mutable_data()->add_class_names(name);
    pair.mutable_train()->set_epochs(2);
    pair.mutable_train()->set_batch_size(2);
    pair.mutable_train()->set_workers(workers);
    if (with_teacher) {
      pair.mutable_teacher()->set_weights(*data_ / "teacher.safetensors");
      pair.add_distill()->set_method("pivotal_logits");
    }
    FillPairDefaults(pair);
    return pair;
  }

  absl::StatusOr<v1::Job> TrySubmit(const v1::Pair& pair, const std::string& request_id, bool dry_run = false) {
    v1::SubmitJobRequest request;
    request.set_request_id(request_id);
    *request.mutable_pair() = pair;
    request.set_dry_run(dry_run);
    return coordinator_->Submit(request);
  }
  std::string Submit(const v1::Pair& pair) {
    const auto job = TrySubmit(pair, absl::StrCat("request-", ++requests_));
    EXPECT_THAT(job, IsOk());
    return job.ok() ? job->id() : "";
  }

  absl::StatusOr<v1::Assignment> Join(const std::string& id, uint32_t generation, uint32_t rank = 0,
                                      int64_t pid = 1000) {
    v1::JoinRequest request;
    request.set_job_id(id);
    request.set_generation(generation);
    request.set_rank(rank);
    request.set_pid(pid);
    return coordinator_->Join(request);
  }
  absl::Status Heartbeat(const std::string& id, uint32_t generation, uint64_t step = 0) {
    v1::HeartbeatRequest request;
    request.set_job_id(id);
    request.set_generation(generation);
    request.mutable_progress()->set_step(step);
    return coordinator_->Heartbeat(request).status();
  }
  std::vector<v1::Job> List(uint32_t limit = 0, const std::string& name = "") {
    v1::ListJobsRequest request;
    request.set_limit(limit);
    request.set_name(name);
    const auto page = coordinator_->List(request);
    EXPECT_THAT(page, IsOk());
    return page.ok() ? std::vector<v1::Job>(page->jobs().begin(), page->jobs().end()) : std::vector<v1::Job>();
  }
  std::string CheckpointPath(const std::string& id, uint64_t step) {
    return absl::StrCat(folder_ / "jobs/", id, "/checkpoints/step-", step);
  }
  absl::StatusOr<v1::CommitCheckpointResponse> Commit(const std::string& id, uint32_t generation, uint64_t step) {
    v1::CommitCheckpointRequest request;
    request.set_job_id(id);
    request.set_generation(generation);
    request.set_step(step);
    request.set_path(CheckpointPath(id, step));
    request.set_digest(kDigest);
    return coordinator_->CommitCheckpoint(request);
  }
  absl::Status Finish(const std::string& id, uint32_t generation, uint32_t rank = 0) {
    v1::FinishRequest request;
    request.set_job_id(id);
    request.set_generation(generation);
    request.set_rank(rank);
    request.mutable_outcome()->set_artifact("registry://students/half:v1");
    request.mutable_progress()->set_step(8);
    return coordinator_->Finish(request);
  }
  v1::FailRequest Failure(const std::string& id, uint32_t generation, const std::string& message) {
    v1::FailRequest request;
    request.set_job_id(id);
    request.set_generation(generation);
    request.set_message(message);
    return request;
  }
  absl::StatusOr<v1::RegisterTeacherResponse> Register(const std::string& digest, int64_t pid, bool ready,
                                                       const std::string& error = "") {
    v1::RegisterTeacherRequest request;
    request.set_digest(digest);
    request.set_pid(pid);
    request.set_ready(ready);
    request.set_address("127.0.0.1:9000");
    request.set_error(error);
    return coordinator_->RegisterTeacher(request);
  }

  void Tick(int times = 1) {
    for (int i = 0; i < times; ++i) coordinator_->Tick();
  }
  v1::Job Job(const std::string& id) { return coordinator_->Get(id).value_or(v1::Job()); }

  // Submitted, launched and joined.
  std::string StartJob(const v1::Pair& pair) {
    const std::string id = Submit(pair);
    Tick(2);
    for (uint32_t rank = 0; rank < pair.train().workers(); ++rank) EXPECT_THAT(Join(id, 1, rank, 1000 + rank), IsOk());
    Tick();
    EXPECT_EQ(Job(id).state(), v1::JOB_STATE_RUNNING);
    return id;
  }

  static TemporaryFolder* data_;
  TemporaryFolder folder_;
  FakeClock clock_;
  FakeLauncher launcher_;
  std::vector<std::string> started_, ended_;
  std::unique_ptr<JobDatabase> database_;
  std::unique_ptr<Coordinator> coordinator_;
  int requests_ = 0;
};
TemporaryFolder* CoordinatorTest::data_ = nullptr;

TEST_F(CoordinatorTest, TakesAWrittenZeroForWhatItSays) {
  v1::Pair pair = Pair(true);
  pair.mutable_train()->set_weight_decay(0);
  pair.mutable_teacher()->set_verify_views(false);
  const v1::Pair kept = Job(Submit(pair)).pair();
  EXPECT_EQ(kept.train().weight_decay(), 0);
  EXPECT_FALSE(kept.teacher().verify_views());
}

TEST_F(CoordinatorTest, RunsAJobFromSubmitToOutcome) {
  const std::string id = Submit(Pair(false));
  EXPECT_EQ(id, "half-1");
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_QUEUED);
  Tick(2);
  ASSERT_THAT(launcher_.started, SizeIs(1));
  EXPECT_THAT(launcher_.started[0].arguments, ElementsAre("/bin/kd-worker", "train", "--job", "half-1", "--generation",
                                                          "1", "--rank", "0", "--coordinator", "127.0.0.1:7070"));
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_STARTING);
  const auto assignment = Join(id, 1);
  ASSERT_THAT(assignment, IsOk());
  EXPECT_EQ(assignment->world_size(), 1u);
  EXPECT_EQ(assignment->registry_url(), "http://registry");
  EXPECT_EQ(assignment->checkpoint_path(), "");
  EXPECT_EQ(assignment->pair().train().batch_size(), 2u);
  Tick();
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_RUNNING);
  EXPECT_THAT(Heartbeat(id, 1, 7), IsOk());
  EXPECT_EQ(Job(id).progress().step(), 7u);
  EXPECT_THAT(Finish(id, 1), IsOk());
  EXPECT_EQ(Job(id).progress().step(), 8u) << "the steps after the last heartbeat count too";
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Job(id).outcome().artifact(), "registry://students/half:v1");
  EXPECT_THAT(Finish(id, 1), IsOk()) << "the answer may be lost";
  EXPECT_THAT(Heartbeat(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("has ended")));
  EXPECT_THAT(started_, ElementsAre("half-1/1/"));
  EXPECT_THAT(ended_, ElementsAre("half-1/1/"));

  const auto events = coordinator_->Events(id);
  ASSERT_THAT(events, IsOk());
  EXPECT_EQ(events->back().state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(CoordinatorTest, TheSameRequestIsTheSameJob) {
  const auto first = TrySubmit(Pair(false), "r");
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(TrySubmit(Pair(false), "r")->id(), first->id());
  StartCoordinator();
  EXPECT_EQ(TrySubmit(Pair(false), "r")->id(), first->id());
  v1::Pair other = Pair(false);
  other.mutable_train()->set_epochs(3);
  EXPECT_THAT(TrySubmit(other, "r"), StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr(first->id())));
  EXPECT_THAT(TrySubmit(other, std::string(200, 'r')), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("128")));
  EXPECT_THAT(List(), SizeIs(1));
}

TEST_F(CoordinatorTest, ADryRunTellsTheCostAndKeepsNothing) {
  const auto job = TrySubmit(Pair(true), "r", /*dry_run=*/true);
  ASSERT_THAT(job, IsOk());
  EXPECT_EQ(job->id(), "");
  EXPECT_EQ(job->estimate().train_frames(), 4u);
  EXPECT_EQ(job->estimate().val_frames(), 2u);
  EXPECT_EQ(job->estimate().steps(), 4u);
  EXPECT_EQ(job->estimate().teacher_passes(), 8u);
  // 500 cells of 3 classes as float32, and their places.
  EXPECT_EQ(job->estimate().response_bytes(), 8u * 500 * (4 + 3 * 4));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "teachers"));
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(CoordinatorTest, ObjectsToPasteAndFrameIntervalsAreCheckedBeforeAJobIsTaken) {
  v1::Pair pair = Pair(false);
  pair.mutable_data()->set_train_interval(2);
  const auto half = TrySubmit(pair, "half", /*dry_run=*/true);
  ASSERT_THAT(half, IsOk());
  EXPECT_EQ(half->estimate().train_frames(), 2u);
  EXPECT_EQ(half->estimate().steps(), 2u);
  pair.mutable_data()->set_train_interval(5);
  EXPECT_THAT(TrySubmit(pair, "interval"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data.train_interval is 5")));

  pair = Pair(false);
  v1::Augmentation* augmentation = pair.mutable_data()->mutable_augmentation();
  augmentation->set_objects(folder_ / "objects");
  for (int i = 0; i < 3; ++i) augmentation->add_paste(4);
  EXPECT_THAT(TrySubmit(pair, "none"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("data.augmentation.objects: no object database")));
  // Another split's, so that the index is there and does not fit.
  v1::Data whole = pair.data();
  whole.set_fov_crop(false);
  const std::unique_ptr<Dataset> dataset = *OpenDataset(whole);
  ASSERT_THAT(WriteObjectDatabase(*dataset, "val", folder_ / "objects"), IsOk());
  for (const char* ending : {"", ".index"}) {
    std::filesystem::rename(folder_ / absl::StrCat("objects/val.objects", ending),
                            folder_ / absl::StrCat("objects/train.objects", ending));
  }
  EXPECT_THAT(TrySubmit(pair, "val"), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("kdctl data prepare")));
  std::filesystem::remove_all(folder_ / "objects");
  ASSERT_THAT(WriteObjectDatabase(*dataset, "train", folder_ / "objects"), IsOk());
  EXPECT_THAT(TrySubmit(pair, "good"), IsOk());
}

TEST_F(CoordinatorTest, RefusesWhatCannotRun) {
  v1::Pair pair = Pair(false);
  pair.mutable_data()->set_root("/nowhere");
  EXPECT_THAT(TrySubmit(pair, "a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nowhere")));
  pair = Pair(false);
  pair.mutable_data()->set_train_split("tran");
  EXPECT_THAT(TrySubmit(pair, "b"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("tran")));
  pair = Pair(true);
  pair.mutable_teacher()->set_weights("/nowhere/t.safetensors");
  EXPECT_THAT(TrySubmit(pair, "c"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("teacher.weights")));
  pair.mutable_teacher()->set_weights("t.safetensors");
  EXPECT_THAT(TrySubmit(pair, "d"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("relative")));
  pair.mutable_teacher()->set_weights("registry://teachers/t:v1");
  EXPECT_THAT(TrySubmit(pair, "e"), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("127.0.0.1:1")));
  std::ofstream(folder_ / "broken") << "not weights";
  pair.mutable_teacher()->set_weights(folder_ / "broken");
  EXPECT_THAT(TrySubmit(pair, "f"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("broken")));
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "teachers")) << "what cannot be a teacher is not copied";
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  pair.mutable_teacher()->set_weights(folder_ / "pipe");
  EXPECT_THAT(TrySubmit(pair, "p"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("pipe")));
  pair = Pair(false);
  pair.mutable_resources()->set_gpus_per_worker(1);
  EXPECT_THAT(TrySubmit(pair, "h"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("this fleet's machine has 0 GPUs")));
  pair = Pair(false);
  pair.mutable_train()->set_workers(5000);
  EXPECT_THAT(TrySubmit(pair, "g"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("workers")));
  EXPECT_THAT(List(), IsEmpty());
}

TEST_F(CoordinatorTest, AKilledWorkerGoesOnFromTheLastCheckpoint) {
  const std::string id = StartJob(Pair(false));
  EXPECT_THAT(Commit(id, 1, 100), IsOk());
  launcher_.running.erase(1000);
  Tick();
  EXPECT_EQ(Job(id).generation(), 2u);
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_STARTING);
  EXPECT_THAT(Job(id).reason(), HasSubstr("signal 9"));
  Tick();
  EXPECT_THAT(launcher_.started, SizeIs(1)) << "the restart waits a little";
  clock_.Advance(absl::Seconds(1));
  Tick();
  ASSERT_THAT(launcher_.started, SizeIs(2));
  EXPECT_THAT(Join(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 1")));
  EXPECT_EQ(Join(id, 2)->checkpoint_path(), CheckpointPath(id, 100));
  EXPECT_THAT(Commit(id, 1, 150), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 1")));
  EXPECT_THAT(Finish(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("generation 1")));
  EXPECT_THAT(ended_, ElementsAre("half-1/1/"));
}

TEST_F(CoordinatorTest, TakesOnlyFilesOfTheJobForCheckpoints) {
  const std::string id = StartJob(Pair(false));
  v1::CommitCheckpointRequest request;
  request.set_job_id(id);
  request.set_generation(1);
  request.set_digest(kDigest);
  for (const std::string& path :
       {std::string("/etc/passwd"), CheckpointPath("other-2", 1), CheckpointPath(id, 1) + "/../../x",
        folder_ / "jobs/" + id + "/checkpoints/..", std::string("")}) {
    request.set_path(path);
    EXPECT_THAT(coordinator_->CommitCheckpoint(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("folder of checkpoints")))
        << path;
  }
  request.set_path(CheckpointPath(id, 5));
  request.set_step(5);
  EXPECT_THAT(coordinator_->CommitCheckpoint(request), IsOk());
  for (const std::string& digest : {std::string(), std::string("md5:1"), kDigest + "\x1b[31m"}) {
    request.set_digest(digest);
    EXPECT_THAT(coordinator_->CommitCheckpoint(request).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no digest")));
  }
  EXPECT_THAT(Commit(id, 1, 4), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("step 4 comes before step 5")));
  EXPECT_EQ(Job(id).checkpoint_step(), 5u);
}

TEST_F(CoordinatorTest, RefusesMoreWorkersThanTheMachineHasRoomFor) {
  EXPECT_THAT(TrySubmit(Pair(false, 1024), "many"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("train.workers is 1024")));
}

TEST_F(CoordinatorTest, KeepsTwoCheckpoints) {
  const std::string id = StartJob(Pair(false));
  EXPECT_THAT(Commit(id, 1, 1)->obsolete_paths(), IsEmpty());
  EXPECT_THAT(Commit(id, 1, 2)->obsolete_paths(), IsEmpty());
  EXPECT_THAT(Commit(id, 1, 3)->obsolete_paths(), ElementsAre(CheckpointPath(id, 1)));
  EXPECT_THAT(Commit(id, 1, 3)->obsolete_paths(), IsEmpty()) << "a repeated call";
  EXPECT_EQ(Job(id).checkpoint_step(), 3u);
}

TEST_F(CoordinatorTest, ADamagedCheckpointFallsBackOnTheOneBefore) {
  const std::string id = StartJob(Pair(false));
  EXPECT_THAT(Commit(id, 1, 1), IsOk());
  EXPECT_THAT(Commit(id, 1, 2), IsOk());
  v1::FailRequest failure = Failure(id, 1, "step-2: checksum differs");
  failure.set_bad_checkpoint(true);
  EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  Tick();
  clock_.Advance(absl::Seconds(1));
  Tick();
  EXPECT_EQ(Join(id, 2)->checkpoint_path(), CheckpointPath(id, 1));
  EXPECT_EQ(Job(id).checkpoint_step(), 1u);
}

TEST_F(CoordinatorTest, ACheckpointThatTwoRanksFindDamagedIsGivenUpOnce) {
  const std::string id = StartJob(Pair(false, 2));
  EXPECT_THAT(Commit(id, 1, 1), IsOk());
  EXPECT_THAT(Commit(id, 1, 2), IsOk());
  for (uint32_t rank = 0; rank < 2; ++rank) {
    v1::FailRequest failure = Failure(id, 1, "step-2: checksum differs");
    failure.set_rank(rank);
    failure.set_bad_checkpoint(true);
    EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  }
  EXPECT_EQ(Job(id).checkpoint_step(), 1u);
}

TEST_F(CoordinatorTest, ASilentWorkerIsGivenUpAndKilled) {
  const std::string id = StartJob(Pair(false));
  clock_.Advance(absl::Seconds(9));
  Tick();
  EXPECT_THAT(Heartbeat(id, 1), IsOk());
  clock_.Advance(absl::Seconds(9));
  Tick();
  EXPECT_EQ(Job(id).generation(), 1u);
  clock_.Advance(absl::Seconds(2));
  Tick();
  EXPECT_EQ(Job(id).generation(), 2u);
  EXPECT_THAT(launcher_.signals, ElementsAre(std::pair<int64_t, int>(1000, SIGKILL)));
  EXPECT_THAT(Heartbeat(id, 1), StatusIs(absl::StatusCode::kAborted, HasSubstr("has ended")));
}

TEST_F(CoordinatorTest, WaitsForTheOldProcessesBeforeItStartsNewOnes) {
  const std::string id = StartJob(Pair(false, 2));
  launcher_.ignored = {SIGTERM, SIGKILL};
  launcher_.running.erase(1001);
  Tick();
  clock_.Advance(absl::Seconds(5));
  Tick(2);
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "rank 0 of generation 1 still runs";
  launcher_.running.erase(1000);
  Tick();
  EXPECT_THAT(launcher_.started, SizeIs(4));
}

TEST_F(CoordinatorTest, APermanentFailureEndsTheJob) {
  const std::string id = StartJob(Pair(false));
  v1::FailRequest failure = Failure(id, 1, "000012.bin is cut off");
  failure.set_permanent(true);
  EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  Tick();
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job(id).reason(), HasSubstr("000012.bin"));
}

TEST_F(CoordinatorTest, GivesUpAfterRestartsWithoutACheckpoint) {
  const std::string id = Submit(Pair(false));
  launcher_.refusal = "no such program";
  for (int i = 0; i < 50 && Job(id).state() != v1::JOB_STATE_FAILED; ++i) {
    Tick();
    clock_.Advance(absl::Seconds(31));
  }
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Job(id).generation(), 6u);
  EXPECT_THAT(Job(id).reason(), HasSubstr("no such program"));
}

TEST_F(CoordinatorTest, CancelsOnce) {
  const std::string id = StartJob(Pair(false)), waiting = Submit(Pair(false));
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  EXPECT_THAT(launcher_.signals, Contains(std::pair<int64_t, int>(1000, SIGKILL)));
  EXPECT_EQ(coordinator_->Cancel(id)->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(coordinator_->Cancel(waiting)->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_THAT(coordinator_->Cancel("half-9"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("half-9")));
  const std::string done = Submit(Pair(false));
  Tick(2);
  EXPECT_THAT(Finish(done, 1), IsOk());
  EXPECT_THAT(coordinator_->Cancel(done), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("SUCCEEDED")));
}

TEST_F(CoordinatorTest, ARestartTakesUpWhatRuns) {
  const std::string id = StartJob(Pair(false)), queued = Submit(Pair(false));
  EXPECT_THAT(Commit(id, 1, 5), IsOk());
  started_.clear();
  StartCoordinator();
  EXPECT_THAT(started_, ElementsAre("half-1/1/")) << "its ranks may still want to meet";
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_RUNNING);
  EXPECT_THAT(Heartbeat(id, 1, 6), IsOk());
  Tick(3);
  EXPECT_EQ(Job(id).generation(), 1u);
  EXPECT_THAT(launcher_.signals, IsEmpty());
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "the queued job's worker was started";
  EXPECT_THAT(Finish(id, 1), IsOk());
  EXPECT_EQ(Job(queued).state(), v1::JOB_STATE_STARTING);
}

TEST_F(CoordinatorTest, AWorkerThatDiedWithTheCoordinatorCostsTheJobNothing) {
  const std::string id = StartJob(Pair(false));
  launcher_.running.clear();
  StartCoordinator();
  Tick(3);
  EXPECT_EQ(Job(id).generation(), 2u);
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "and nobody waits";
  EXPECT_THAT(Job(id).reason(), HasSubstr("waiting for rank 0"));
}

TEST_F(CoordinatorTest, ARestartKillsProcessesOfEndedGenerations) {
  const std::string id = StartJob(Pair(false));
  launcher_.ignored = {SIGTERM, SIGKILL};
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  StartCoordinator();
  EXPECT_THAT(launcher_.signals,
              ElementsAre(std::pair<int64_t, int>(1000, SIGKILL), std::pair<int64_t, int>(1000, SIGKILL)));
  launcher_.running.clear();
  Tick();
  EXPECT_THAT(*database_->Processes(), IsEmpty());
}

TEST_F(CoordinatorTest, SurvivesARestartAtEveryStep) {
  // Whatever the coordinator was about to do when it died, the next one does it, once.
  const std::string id = Submit(Pair(true));
  std::string digest = Job(id).teacher_digest();
  for (int i = 0; i < 12 && Job(id).state() != v1::JOB_STATE_SUCCEEDED; ++i) {
    StartCoordinator();
    Tick();
    for (const v1::TeacherReplica& teacher : coordinator_->Teachers()) {
      EXPECT_THAT(Register(teacher.digest(), teacher.pid(), true), IsOk());
    }
    if (Join(id, 1).ok()) {
      EXPECT_THAT(Heartbeat(id, 1), IsOk());
      if (i > 8) {
        EXPECT_THAT(Finish(id, 1), IsOk());
      }
    }
  }
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Job(id).generation(), 1u);
  EXPECT_THAT(launcher_.started, SizeIs(2)) << "one worker, one teacher";
}

TEST_F(CoordinatorTest, StartsATeacherOnceAndTellsItsAddress) {
  const std::string a = Submit(Pair(true)), b = Submit(Pair(true));
  Tick(2);
  const std::string digest = Job(a).teacher_digest();
  EXPECT_THAT(digest, HasSubstr("sha256:"));
  std::vector<std::string> programs;
  for (const ProcessSpec& spec : launcher_.started) programs.push_back(spec.arguments[0]);
  EXPECT_THAT(programs, ::testing::UnorderedElementsAre("/bin/kd-worker", "/bin/kd-worker", "/bin/kd-teacher"));
  EXPECT_EQ(Join(a, 1)->teacher_address(), "");
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(digest, pid, false), IsOk());
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "starting");
  EXPECT_THAT(Register(digest, pid + 77, true), StatusIs(absl::StatusCode::kAborted, HasSubstr("no longer")));
  EXPECT_THAT(Register(digest, pid, true), IsOk());
  EXPECT_EQ(Join(b, 1)->teacher_address(), "127.0.0.1:9000");
  EXPECT_EQ(Join(b, 1)->teacher_weights_path(), TeacherWeightsPath(folder_.path(), digest));
  EXPECT_EQ(coordinator_->Count().ready_teachers, 1);
}

TEST_F(CoordinatorTest, StartsALostTeacherAgain) {
  const std::string id = Submit(Pair(true));
  Tick(2);
  const std::string digest = Job(id).teacher_digest();
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(digest, pid, true), IsOk());
  EXPECT_THAT(Join(id, 1), IsOk());
  launcher_.running.erase(pid);
  Tick();
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "lost");
  EXPECT_EQ(Join(id, 1)->teacher_address(), "") << "nobody is there";
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(Heartbeat(id, 1), IsOk());
  Tick();
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "starting");
  EXPECT_EQ(Job(id).generation(), 1u) << "the worker waits";
}

TEST_F(CoordinatorTest, ARefusedTeacherEndsItsJobsOnly) {
  const std::string id = Submit(Pair(true)), other = Submit(Pair(false));
  Tick(2);
  EXPECT_THAT(Register(Job(id).teacher_digest(), coordinator_->Teachers()[0].pid(), false, "12 tensors do not fit"),
              IsOk());
  Tick();
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job(id).reason(), HasSubstr("12 tensors"));
  EXPECT_EQ(Job(other).state(), v1::JOB_STATE_STARTING);
  EXPECT_THAT(coordinator_->Teachers(), IsEmpty());
}

TEST_F(CoordinatorTest, WritesADamagedCopyOfATeacherAnew) {
  const std::string path = TeacherWeightsPath(folder_.path(), Job(Submit(Pair(true))).teacher_digest());
  const auto whole = ReadFile(path);
  ASSERT_THAT(whole, IsOk());
  std::string damaged = *whole;
  damaged[damaged.size() / 2] ^= 1;
  ASSERT_THAT(WriteFileAtomically(path, damaged), IsOk());
  Submit(Pair(true));
  EXPECT_EQ(ReadFile(path).value_or(""), *whole);
}

TEST_F(CoordinatorTest, ForgetsATeacherThatWasLostWhileNobodyUsedIt) {
  const std::string id = Submit(Pair(true));
  Tick(2);
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(Job(id).teacher_digest(), pid, true), IsOk());
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  launcher_.running.erase(pid);
  Tick(2);
  EXPECT_EQ(coordinator_->Teachers()[0].state(), "lost");
  clock_.Advance(absl::Minutes(6));
  Tick();
  EXPECT_THAT(coordinator_->Teachers(), IsEmpty());
}

TEST_F(CoordinatorTest, StopsATeacherThatNobodyUses) {
  const std::string id = Submit(Pair(true));
  Tick(2);
  const int64_t pid = coordinator_->Teachers()[0].pid();
  EXPECT_THAT(Register(Job(id).teacher_digest(), pid, true), IsOk());
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  Tick();
  EXPECT_THAT(Register("sha256:" + std::string(64, '0'), 1, true),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("no longer")));
  const auto live_for = [&](absl::Duration time) {
    for (; time > absl::ZeroDuration(); time -= absl::Seconds(5)) {
      clock_.Advance(absl::Seconds(5));
      Tick();
      for (const v1::TeacherReplica& teacher : coordinator_->Teachers())
        EXPECT_THAT(Register(teacher.digest(), pid, true), IsOk());
    }
  };
  live_for(absl::Minutes(4));
  EXPECT_THAT(coordinator_->Teachers(), SizeIs(1));
  live_for(absl::Minutes(2));
  EXPECT_THAT(coordinator_->Teachers(), IsEmpty());
  EXPECT_THAT(launcher_.signals, Contains(std::pair<int64_t, int>(pid, SIGTERM)));
}

TEST_F(CoordinatorTest, AWatcherSeesEveryChangeAndTheEnd) {
  const std::string id = StartJob(Pair(false));
  const auto first = coordinator_->Watch(id, 0, absl::InfinitePast());
  ASSERT_THAT(first, IsOk());
  EXPECT_EQ(coordinator_->Watch(id, first->version, absl::InfinitePast())->version, first->version)
      << "nothing has changed";
  std::thread worker([&] { EXPECT_THAT(Heartbeat(id, 1, 9), IsOk()); });
  const auto second = coordinator_->Watch(id, first->version, absl::InfiniteFuture());
  worker.join();
  EXPECT_EQ(second->job.progress().step(), 9u);
  std::thread canceller([&] { EXPECT_THAT(coordinator_->Cancel(id), IsOk()); });
  EXPECT_EQ(coordinator_->Watch(id, second->version, absl::InfiniteFuture())->job.state(), v1::JOB_STATE_CANCELLED);
  canceller.join();
  EXPECT_THAT(coordinator_->Watch("nobody-1", 0, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody-1")));
}

TEST_F(CoordinatorTest, ListsNewestFirstWithProgress) {
  const std::string a = StartJob(Pair(false));
  EXPECT_THAT(Heartbeat(a, 1, 3), IsOk());
  const std::string b = Submit(Pair(false));
  const std::vector<v1::Job> jobs = List();
  ASSERT_THAT(jobs, SizeIs(2));
  EXPECT_EQ(jobs[0].id(), b);
  EXPECT_EQ(jobs[1].progress().step(), 3u);
  EXPECT_THAT(List(1), SizeIs(1));
  EXPECT_THAT(List(0, "other"), IsEmpty());
  EXPECT_THAT(*coordinator_->LogPaths(a), ElementsAre(folder_ / "jobs/half-1/logs/rank0.log"));
}

TEST_F(CoordinatorTest, ListsInPagesThatFitAMessage) {
  v1::Pair pair = Pair(false);
  pair.mutable_metadata()->set_owner(std::string(4000, 'o'));
  constexpr size_t kJobs = 600;
  for (size_t i = 0; i < kJobs; ++i) ASSERT_NE(Submit(pair), "");
  v1::ListJobsRequest request;
  request.set_limit(1000);
  std::vector<std::string> ids;
  int pages = 0;
  do {
    const auto page = coordinator_->List(request);
    ASSERT_THAT(page, IsOk());
    EXPECT_LT(page->ByteSizeLong(), 4u << 20);
    for (const v1::Job& job : page->jobs()) ids.push_back(job.id());
    request.set_page_token(page->next_page_token());
    ++pages;
  } while (!request.page_token().empty());
  EXPECT_GT(pages, 1);
  ASSERT_THAT(ids, SizeIs(kJobs));
  EXPECT_EQ(ids.front(), "half-600");
  EXPECT_EQ(ids.back(), "half-1");
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), kJobs);
  request.set_page_token("half-601");
  EXPECT_THAT(coordinator_->List(request), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("half-601")));
}

TEST_F(CoordinatorTest, KeepsNoMoreTextThanAScreenShows) {
  v1::Pair pair = Pair(false);
  pair.mutable_metadata()->set_owner(std::string(900'000, 'o'));
  EXPECT_THAT(TrySubmit(pair, "a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("metadata.owner has 900000 bytes")));
  pair = Pair(false);
  for (int i = 0; i < 200; ++i) pair.mutable_data()->add_class_names(absl::StrCat(std::string(100, 'c'), i));
  EXPECT_THAT(TrySubmit(pair, "b"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("shorten its texts and lists")));

  const std::string id = StartJob(Pair(false));
  v1::HeartbeatRequest beat;
  beat.set_job_id(id);
  beat.set_generation(1);
  beat.mutable_progress()->set_phase(std::string(100'000, 'p'));
  EXPECT_THAT(coordinator_->Heartbeat(beat).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 16384")));
  v1::FinishRequest finish;
  finish.set_job_id(id);
  finish.set_generation(1);
  finish.mutable_outcome()->set_artifact(std::string(100'000, 'a'));
  EXPECT_THAT(coordinator_->Finish(finish), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at most 16384")));

  v1::FailRequest failure = Failure(id, 1, "line 1\n\x1b[31mline 2" + std::string(1'000'000, 'x'));
  failure.set_permanent(true);
  EXPECT_THAT(coordinator_->Fail(failure), IsOk());
  Tick();
  EXPECT_EQ(Job(id).state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(Job(id).reason(), HasSubstr("line 1  [31mline 2"));
  EXPECT_LT(Job(id).reason().size(), 1500u);
}

TEST_F(CoordinatorTest, TakesUpOnlyTheProcessThatItStarted) {
  const std::string id = StartJob(Pair(false)), other = StartJob(Pair(false));
  // As if the coordinator had died between the start and the note of it.
  ASSERT_THAT(database_->RemoveProcess(WorkerName(id, 1, 0), 1000), IsOk());
  StartCoordinator();
  EXPECT_THAT(Join(id, 1, 0, ::getpid()), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("process")));
  EXPECT_THAT(Join(id, 1, 0, 1001), StatusIs(absl::StatusCode::kPermissionDenied, HasSubstr("process")))
      << "the other job's";
  EXPECT_THAT(Join(id, 1, 0, 1000), IsOk());
  EXPECT_THAT(coordinator_->Cancel(id), IsOk());
  EXPECT_THAT(launcher_.signals, ElementsAre(std::pair<int64_t, int>(1000, SIGKILL)));
  EXPECT_EQ(Job(other).state(), v1::JOB_STATE_RUNNING);
}

TEST_F(CoordinatorTest, TellsWhoseTagItWillBe) {
  v1::Pair pair = Pair(false);
  pair.mutable_output()->set_name("students/half");
  pair.mutable_output()->set_tag("v1");
  EXPECT_EQ(Job(Submit(pair)).reason(), "accepted");
  EXPECT_THAT(Job(Submit(pair)).reason(), HasSubstr("half-1 pushes students/half:v1 too"));
  pair.mutable_output()->set_tag("v2");
  EXPECT_EQ(Job(Submit(pair)).reason(), "accepted");
}

TEST_F(CoordinatorTest, IsReadyWhileItsFolderIs) {
  EXPECT_THAT(coordinator_->Ready(), IsOk());
  std::filesystem::remove_all(folder_.path());
  EXPECT_THAT(coordinator_->Ready(), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot be read and written")));
}

TEST_F(CoordinatorTest, RefusesATeacherWithoutADigest) {
  EXPECT_THAT(Register("", 1, true), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is no digest")));
}

}  // namespace
}  // namespace kd
