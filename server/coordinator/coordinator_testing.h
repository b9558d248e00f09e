// A coordinator with its jobs on disk, processes and time that tests move, and a small simulated data set.
#ifndef KD_SERVER_COORDINATOR_COORDINATOR_TESTING_H_
#define KD_SERVER_COORDINATOR_COORDINATOR_TESTING_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "core/pair.h"
#include "core/safetensors.h"
#include "data/simulator.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/fake_launcher.h"

namespace kd {

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
    request.set_digest("sha256:" + std::string(64, 'a'));
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

  static inline TemporaryFolder* data_ = nullptr;
  TemporaryFolder folder_;
  FakeClock clock_;
  FakeLauncher launcher_;
  std::vector<std::string> started_, ended_;
  std::unique_ptr<JobDatabase> database_;
  std::unique_ptr<Coordinator> coordinator_;
  int requests_ = 0;
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_COORDINATOR_TESTING_H_
