// Jobs as clients see them: taken, refused, listed, watched, cancelled.
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "data/fake_dataset.h"
#include "server/coordinator/coordinator_testing.h"
#include "server/coordinator/fleet_names.h"

namespace kd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

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

TEST_F(CoordinatorTest, RefusesMoreWorkersThanTheMachineHasRoomFor) {
  EXPECT_THAT(TrySubmit(Pair(false, 1024), "many"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("train.workers is 1024")));
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

}  // namespace
}  // namespace kd
