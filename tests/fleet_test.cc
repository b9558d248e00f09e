// The whole service as processes of this machine: how often a teacher runs, and what kill -9 costs.
#include <grpcpp/create_channel.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/grpc_status.h"
#include "base/http/http_client.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/job_state.h"
#include "core/pair.h"
#include "data/simulator.h"
#include "gtest/gtest.h"
#include "kd/v1/coordinator.grpc.pb.h"
#include "server/coordinator/process.h"

namespace kd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint32_t kFrames = 16, kViews = 2, kBatch = 2;
constexpr absl::Duration kPatience = absl::Minutes(3);

// Commands of all processes that name `text`, by process number.
std::map<int64_t, std::string> ProcessesThatName(const std::string& text) {
  std::map<int64_t, std::string> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    int64_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid)) continue;
    std::ifstream file(entry.path() / "cmdline");
    std::string command(std::istreambuf_iterator<char>(file), {});
    std::replace(command.begin(), command.end(), '\0', ' ');
    if (absl::StrContains(command, text)) found[pid] = command;
  }
  return found;
}

class FleetTest : public ::testing::Test {
 protected:
  // One fleet with one trained teacher for all tests: most of a test's time is the students'.
  static void SetUpTestSuite() {
    folder_ = new TemporaryFolder;
    SimulatorOptions options;
    options.root = *folder_ / "sim";
    options.train_frames = kFrames;
    options.val_frames = 2;
    ASSERT_THAT(WriteSimulatedKitti(options, [](uint32_t, uint32_t) {}), IsOk());
    launcher_ = new LocalLauncher;
    StartFleet();
    v1::Pair teacher = Student("teacher");
    teacher.mutable_student()->clear_compress();
    teacher.mutable_train()->set_epochs(1);
    teacher.mutable_output()->set_name("teachers/sim");
    teacher.mutable_output()->set_tag("v1");
    const v1::Job job = Finish(Submit(teacher));
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(job.id());
    ASSERT_EQ(job.outcome().artifact(), "registry://teachers/sim:v1");
  }
  static void TearDownTestSuite() {
    StopFleet();
    delete launcher_;
    delete folder_;
  }

  static void StartFleet() {
    std::filesystem::remove(*folder_ / "address");
    auto fleet = launcher_->Start({.arguments = {BinDir() + "/kd-fleet", "--folder", *folder_ / "fleet", "--listen",
                                                 "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--ops-listen",
                                                 "127.0.0.1:0", "--address-file", *folder_ / "address"},
                                   .log_path = *folder_ / "fleet.log"});
    ASSERT_THAT(fleet, IsOk());
    fleet_ = *fleet;
    ASSERT_TRUE(Eventually([] { return std::filesystem::exists(*folder_ / "address"); }))
        << *ReadFile(*folder_ / "fleet.log");
    stub_ = v1::JobService::NewStub(
        grpc::CreateChannel(*ReadFile(*folder_ / "address"), grpc::InsecureChannelCredentials()));
  }
  static void StopFleet() {
    launcher_->Signal(fleet_, SIGINT);
    EXPECT_TRUE(Eventually([] { return launcher_->Poll(fleet_).has_value(); }));
  }

  static bool Eventually(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(20));
    }
    return true;
  }

  // An ordinary training.
  static v1::Pair Student(const std::string& name) {
    v1::Pair pair;
    pair.set_api_version("kd/v1");
    pair.set_kind("Pair");
    pair.mutable_metadata()->set_name(name);
    pair.mutable_student()->set_model("centerpoint_pillar_sim");
    auto& width = *pair.mutable_student()->mutable_compress()->mutable_width();
    width.set_pfn(0.25f);
    width.set_backbone(0.25f);
    width.set_neck(0.25f);
    width.set_head(0.25f);
    pair.mutable_data()->set_format("kitti");
    pair.mutable_data()->set_root(*folder_ / "sim");
    pair.mutable_data()->set_views(kViews);
    for (const char* kind : kSimulatedClasses) pair.mutable_data()->add_class_names(kind);
    pair.mutable_train()->set_epochs(12);
    pair.mutable_train()->set_batch_size(kBatch);
    pair.mutable_train()->set_lr(0.003);
    pair.mutable_train()->set_checkpoint_every(10);
    FillPairDefaults(pair);
    return pair;
  }
  static v1::Pair DistilledStudent(const std::string& name) {
    v1::Pair pair = Student(name);
    pair.mutable_teacher()->set_weights("registry://teachers/sim:v1");
    pair.add_distill()->set_method("pivotal_logits");
    FillPairDefaults(pair);
    return pair;
  }

  template <typename Request, typename Response>
  static absl::Status Call(grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                        Response*),
                           const Request& request, Response* response) {
    grpc::ClientContext context;
    // A coordinator that was just killed is back soon.
    context.set_wait_for_ready(true);
    context.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    return FromGrpcStatus((stub_.get()->*method)(&context, request, response));
  }
  static std::string Submit(const v1::Pair& pair) {
    v1::SubmitJobRequest request;
    static int submits = 0;
    request.set_request_id(absl::StrCat("test-", ++submits));
    *request.mutable_pair() = pair;
    v1::Job job;
    EXPECT_THAT(Call(&v1::JobService::Stub::SubmitJob, request, &job), IsOk());
    return job.id();
  }
  static v1::Job Get(const std::string& id) {
    v1::GetJobRequest request;
    request.set_id(id);
    v1::Job job;
    // In between two coordinators a call may be cut off.
    Eventually([&] { return Call(&v1::JobService::Stub::GetJob, request, &job).ok(); });
    return job;
  }
  static v1::Job Finish(const std::string& id) {
    v1::Job job;
    EXPECT_TRUE(Eventually([&] {
      job = Get(id);
      return IsFinal(job.state());
    })) << "job "
        << id << " is " << job.ShortDebugString();
    return job;
  }
  static void AwaitCheckpoint(const std::string& id, uint64_t step) {
    ASSERT_TRUE(Eventually([&] {
      const v1::Job job = Get(id);
      EXPECT_FALSE(IsFinal(job.state())) << "too soon: " << job.ShortDebugString() << Log(id);
      return job.checkpoint_step() >= step || IsFinal(job.state());
    }));
  }
  static std::string Events(const std::string& id) {
    v1::GetJobRequest request;
    request.set_id(id);
    v1::ListEventsResponse response;
    EXPECT_THAT(Call(&v1::JobService::Stub::ListEvents, request, &response), IsOk());
    return response.DebugString();
  }
  static std::string Log(const std::string& id) {
    const auto log = ReadFile(*folder_ / "fleet/jobs/" + id + "/logs/rank0.log");
    return log.ok() ? "\n" + *log : "";
  }
  static std::string WeightsDigest(const std::string& id) {
    const auto bytes = ReadFile(*folder_ / "fleet/jobs/" + id + "/model.safetensors");
    EXPECT_THAT(bytes, IsOk());
    return bytes.ok() ? Sha256Digest(*bytes) : "";
  }
  // Weights of the distilled student when nothing goes wrong.
  static const std::string& UndisturbedDigest() {
    static const std::string digest = [] {
      const v1::Job job = Finish(Submit(DistilledStudent("undisturbed")));
      EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(job.id());
      EXPECT_EQ(job.generation(), 1u);
      return WeightsDigest(job.id());
    }();
    return digest;
  }
  static void Kill(const std::string& text) {
    const auto processes = ProcessesThatName(text);
    ASSERT_THAT(processes, SizeIs(1)) << text;
    ASSERT_EQ(::kill(static_cast<pid_t>(processes.begin()->first), SIGKILL), 0);
  }
  static std::string InFolder(const std::string& program) {
    return absl::StrCat(program, " --parent ", fleet_.pid, " --address-file ", *folder_ / "fleet", "/", program);
  }

  // A counter of the one teacher that serves.
  static double TeacherMetric(const std::string& name) {
    v1::ListTeachersResponse response;
    EXPECT_THAT(Call(&v1::JobService::Stub::ListTeachers, v1::ListTeachersRequest(), &response), IsOk());
    if (response.teachers_size() != 1) return -1;
    const auto answer = HttpClient(*ParseHttpUrl(response.teachers(0).metrics_url())).Call({.target = "/metrics"});
    EXPECT_THAT(answer, IsOk());
    double value = -1;
    for (const absl::string_view line : absl::StrSplit(answer.ok() ? answer->body : "", '\n')) {
      if (!absl::StartsWith(line, name + " ")) continue;
      EXPECT_TRUE(absl::SimpleAtod(line.substr(name.size() + 1), &value)) << line;
    }
    return value;
  }

  static TemporaryFolder* folder_;
  static LocalLauncher* launcher_;
  static ProcessId fleet_;
  static std::unique_ptr<v1::JobService::Stub> stub_;
};
TemporaryFolder* FleetTest::folder_ = nullptr;
LocalLauncher* FleetTest::launcher_ = nullptr;
ProcessId FleetTest::fleet_;
std::unique_ptr<v1::JobService::Stub> FleetTest::stub_;

TEST_F(FleetTest, StudentsOfOneTeacherShareOnePass) {
  const std::string first = Submit(DistilledStudent("first")), second = Submit(DistilledStudent("second"));
  for (const std::string& id : {first, second}) {
    const v1::Job job = Finish(id);
    ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  }
  EXPECT_EQ(TeacherMetric("kd_teacher_forwards_total"), kFrames * kViews);
  EXPECT_EQ(WeightsDigest(first), WeightsDigest(second));

  v1::Pair later = DistilledStudent("third");
  later.mutable_train()->set_seed(1);
  const v1::Job third = Finish(Submit(later));
  ASSERT_EQ(third.state(), v1::JOB_STATE_SUCCEEDED) << third.reason() << Log(third.id());
  EXPECT_EQ(TeacherMetric("kd_teacher_forwards_total"), kFrames * kViews);
  EXPECT_NE(WeightsDigest(third.id()), WeightsDigest(first));
}

TEST_F(FleetTest, AKilledWorkerCostsNoBit) {
  const std::string expected = UndisturbedDigest();
  const std::string id = Submit(DistilledStudent("worker-dies"));
  AwaitCheckpoint(id, 20);
  Kill(absl::StrCat("--job ", id));
  const v1::Job job = Finish(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  EXPECT_EQ(job.generation(), 2u);
  EXPECT_EQ(WeightsDigest(id), expected);
}

TEST_F(FleetTest, AKilledRankCostsNoBit) {
  const auto pair = [](const std::string& name) {
    v1::Pair two = DistilledStudent(name);
    two.mutable_train()->set_workers(2);
    return two;
  };
  const v1::Job undisturbed = Finish(Submit(pair("ranks-live")));
  ASSERT_EQ(undisturbed.state(), v1::JOB_STATE_SUCCEEDED) << undisturbed.reason() << Log(undisturbed.id());
  ASSERT_EQ(undisturbed.generation(), 1u) << Events(undisturbed.id());
  for (const char* rank : {"1", "0"}) {
    const std::string id = Submit(pair(absl::StrCat("rank", rank, "-dies")));
    AwaitCheckpoint(id, 20);
    Kill(absl::StrCat("--job ", id, " --generation 1 --rank ", rank));
    const v1::Job job = Finish(id);
    EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
    EXPECT_EQ(job.generation(), 2u);
    EXPECT_THAT(Events(id), HasSubstr(absl::StrCat("rank ", rank, " of generation 1 was killed by signal 9")));
    EXPECT_EQ(WeightsDigest(id), WeightsDigest(undisturbed.id()));
  }
}

TEST_F(FleetTest, AKilledTeacherCostsNoBit) {
  // Dense responses and many of them: most are still to be read when the teacher dies.
  const auto pair = [](const std::string& name) {
    v1::Pair dense = DistilledStudent(name);
    dense.mutable_distill(0)->set_method("uniform_logits");
    dense.mutable_train()->set_epochs(24);
    return dense;
  };
  const v1::Job undisturbed = Finish(Submit(pair("teacher-lives")));
  ASSERT_EQ(undisturbed.state(), v1::JOB_STATE_SUCCEEDED) << undisturbed.reason() << Log(undisturbed.id());

  const std::string id = Submit(pair("teacher-dies"));
  AwaitCheckpoint(id, 10);
  Kill(absl::StrCat("kd-teacher --weights ", *folder_ / "fleet"));
  const v1::Job job = Finish(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  EXPECT_EQ(job.generation(), 1u);
  EXPECT_THAT(Log(id), HasSubstr("lost the teacher"));
  EXPECT_EQ(WeightsDigest(id), WeightsDigest(undisturbed.id()));
}

TEST_F(FleetTest, AKilledCoordinatorCostsNoBit) {
  const std::string expected = UndisturbedDigest();
  const std::string id = Submit(DistilledStudent("coordinator-dies"));
  AwaitCheckpoint(id, 20);
  Kill(InFolder("kd-coordinator"));
  const v1::Job job = Finish(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  EXPECT_EQ(WeightsDigest(id), expected);
}

TEST_F(FleetTest, AnAcknowledgedJobSurvivesTheCoordinator) {
  const std::string id = Submit(DistilledStudent("just-submitted"));
  Kill(InFolder("kd-coordinator"));
  const v1::Job job = Finish(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  EXPECT_EQ(WeightsDigest(id), UndisturbedDigest());
}

TEST_F(FleetTest, AStoppedFleetLeavesNothingRunningAndGoesOnLater) {
  const std::string expected = UndisturbedDigest();
  const std::string id = Submit(DistilledStudent("stopped"));
  AwaitCheckpoint(id, 20);
  StopFleet();
  EXPECT_THAT(ProcessesThatName(*folder_ / "fleet"), IsEmpty());
  EXPECT_THAT(ProcessesThatName(id), IsEmpty());
  EXPECT_THAT(*ReadFile(*folder_ / "fleet.log"), HasSubstr("go on with: kd-fleet --folder"));
  StartFleet();
  const v1::Job job = Finish(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  EXPECT_EQ(WeightsDigest(id), expected);
}

TEST_F(FleetTest, AKilledFleetLeavesNothingRunning) {
  launcher_->Signal(fleet_, SIGKILL);
  EXPECT_TRUE(
      Eventually([] { return launcher_->Poll(fleet_).has_value() && ProcessesThatName(*folder_ / "fleet").empty(); }));
  StartFleet();
}

TEST_F(FleetTest, ADamagedCheckpointCostsNoBit) {
  const std::string expected = UndisturbedDigest();
  const std::string id = Submit(DistilledStudent("damaged"));
  AwaitCheckpoint(id, 30);
  StopFleet();
  std::string newest;
  for (const auto& entry : std::filesystem::directory_iterator(*folder_ / "fleet/jobs/" + id + "/checkpoints")) {
    if (newest.empty() || entry.last_write_time() > std::filesystem::last_write_time(newest)) newest = entry.path();
  }
  std::fstream file(newest, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file.put('!');
  file.close();
  StartFleet();
  const v1::Job job = Finish(id);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.reason() << Log(id);
  EXPECT_THAT(Events(id), HasSubstr(absl::StrCat("checkpoint ", newest, " is damaged")));
  EXPECT_EQ(WeightsDigest(id), expected);
}

}  // namespace
}  // namespace kd
