#include <filesystem>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/detector_config.h"
#include "core/pair.h"
#include "data/fake_dataset.h"
#include "data/simulator.h"
#include "gtest/gtest.h"
#include "server/coordinator/rendezvous_table.h"
#include "worker/evaluate.h"
#include "worker/fake_gradient_sync.h"
#include "worker/process_group_sync.h"
#include "worker/threads_as_ranks.h"
#include "worker/trainer.h"

namespace kd {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kFrames = 8;

// A simulated folder, a small teacher with random weights, and jobs on them.
class WorkerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    torch::set_num_threads(2);
    folder_ = new TemporaryFolder;
    ASSERT_THAT(
        WriteSimulatedKitti({.root = *folder_ / "sim", .train_frames = kFrames, .val_frames = 4, .seed = 2}, nullptr),
        IsOk());
    torch::manual_seed(3);
    DetectorModel teacher(*MakeStudentDetector(*BuiltInDetector("centerpoint_pillar_sim"), Quarter()));
    teacher_weights_ = new std::string(SaveWeights(*teacher));
  }
  static void TearDownTestSuite() {
    delete teacher_weights_;
    delete folder_;
  }

  static v1::StudentSpec Quarter() {
    v1::StudentSpec spec;
    spec.set_model("centerpoint_pillar_sim");
    auto* width = spec.mutable_compress()->mutable_width();
    width->set_pfn(0.25f);
    width->set_backbone(0.25f);
    width->set_neck(0.25f);
    width->set_head(0.25f);
    return spec;
  }

  static v1::Pair Job() {
    v1::Pair pair;
    pair.set_api_version("kd/v1");
    pair.set_kind("Pair");
    pair.mutable_metadata()->set_name("test");
    *pair.mutable_student() = Quarter();
    pair.mutable_data()->set_format("kitti");
    pair.mutable_data()->set_root(*folder_ / "sim");
    for (const char* name : kSimulatedClasses) pair.mutable_data()->add_class_names(name);
    pair.mutable_data()->set_views(2);
    pair.mutable_train()->set_epochs(3);
    pair.mutable_train()->set_batch_size(2);
    pair.mutable_train()->set_lr(0.01);
    pair.mutable_train()->set_checkpoint_every(5);
    FillPairDefaults(pair);
    return pair;
  }
  static v1::Pair DistilJob() {
    v1::Pair pair = Job();
    pair.mutable_teacher()->set_weights("teacher.safetensors");
    v1::DistillMethod* logits = pair.add_distill();
    logits->set_method("pivotal_logits");
    v1::DistillMethod* label = pair.add_distill();
    label->set_method("label");
    for (int i = 0; i < 3; ++i) label->add_score_thresh(0.6f);
    FillPairDefaults(pair);
    logits->set_reg_weight(0.2f);
    return pair;
  }

  TrainerOptions Options(const v1::Pair& pair, const std::string& folder) {
    dataset_ = *OpenDataset(pair.data());
    TrainerOptions options;
    options.pair = pair;
    options.folder = *folder_ / folder;
    options.dataset = dataset_.get();
    views_ = *ViewMaker::Open(pair.data(), *dataset_);
    options.views = &*views_;
    if (pair.has_teacher()) {
      options.teacher_weights = *teacher_weights_;
      options.source = NewInProcessSource(*TeacherModel::Create(*teacher_weights_));
    }
    return options;
  }

  static TemporaryFolder* folder_;
  static std::string* teacher_weights_;
  std::unique_ptr<Dataset> dataset_;
  std::optional<ViewMaker> views_;
};
TemporaryFolder* WorkerTest::folder_ = nullptr;
std::string* WorkerTest::teacher_weights_ = nullptr;

TEST_F(WorkerTest, TheLossFalls) {
  const auto last_loss = [&](uint32_t epochs) {
    v1::Pair pair = Job();
    pair.mutable_train()->set_epochs(epochs);
    TrainerOptions options = Options(pair, "falls");
    double loss = 0;
    options.on_progress = [&](const v1::Progress& progress) { loss = progress.losses().at("hm"); };
    EXPECT_THAT(Train(std::move(options)), IsOk());
    return loss;
  };
  const double early = last_loss(1), late = last_loss(12);
  EXPECT_GT(early, 0);
  EXPECT_LT(late, 0.8 * early);
}

TEST_F(WorkerTest, AStoppedRunGoesOnBitForBit) {
  auto whole = Train(Options(DistilJob(), "whole"));
  ASSERT_THAT(whole, IsOk());

  TrainerOptions first = Options(DistilJob(), "parts");
  int steps = 0;
  first.should_go_on = [&]() -> absl::Status {
    return steps++ < 7 ? absl::OkStatus() : absl::CancelledError("stopped");
  };
  EXPECT_THAT(Train(std::move(first)), StatusIs(absl::StatusCode::kCancelled));
  TrainerOptions second = Options(DistilJob(), "parts");
  second.checkpoint = *folder_ / "parts/checkpoints/step-5.safetensors";
  auto resumed = Train(std::move(second));
  ASSERT_THAT(resumed, IsOk());
  EXPECT_TRUE(SaveWeights(**whole) == SaveWeights(**resumed));
}

TEST_F(WorkerTest, ADamagedCheckpointIsDataLossWithARemedy) {
  ASSERT_THAT(Train(Options(Job(), "damaged")), IsOk());
  const std::string path = *folder_ / "damaged/checkpoints/step-5.safetensors";
  std::string bytes = *ReadFile(path);
  bytes.resize(bytes.size() / 2);
  ASSERT_THAT(WriteFileAtomically(path, bytes), IsOk());
  TrainerOptions options = Options(Job(), "damaged");
  options.checkpoint = path;
  EXPECT_THAT(Train(std::move(options)),
              StatusIs(absl::StatusCode::kDataLoss,
                       ::testing::AllOf(HasSubstr(path), HasSubstr("delete it to go on from an earlier one"))));
}

TEST_F(WorkerTest, ATruncatedPointFileEndsTheJobWithItsName) {
  const std::string path = *folder_ / "sim/training/velodyne/000003.bin";
  const std::string bytes = *ReadFile(path);
  ASSERT_THAT(WriteFileAtomically(path, bytes.substr(0, bytes.size() - 3)), IsOk());
  EXPECT_THAT(Train(Options(Job(), "truncated")),
              StatusIs(absl::StatusCode::kDataLoss,
                       ::testing::AllOf(HasSubstr(path), HasSubstr("the file is cut short, copy it anew"))));
  ASSERT_THAT(WriteFileAtomically(path, bytes), IsOk());
}

TEST_F(WorkerTest, ALabelWith14FieldsEndsTheJobWithFileAndLine) {
  const std::string path = *folder_ / "sim/training/label_2/000003.txt";
  const std::string text = *ReadFile(path);
  ASSERT_THAT(WriteFileAtomically(path, "Car 0 0 0 1 2 3 4 1 1 1 0 0 5\n" + text), IsOk());
  EXPECT_THAT(Train(Options(Job(), "fields")),
              StatusIs(absl::StatusCode::kDataLoss, ::testing::AllOf(HasSubstr(path + ":1: 14 fields, expected 15"),
                                                                     HasSubstr("mend or remove the line"))));
  ASSERT_THAT(WriteFileAtomically(path, text), IsOk());
}

TEST_F(WorkerTest, ALossThatIsNotANumberNamesStepAndFrames) {
  v1::Pair pair = Job();
  pair.mutable_train()->set_lr(1e30);
  pair.mutable_train()->set_grad_clip(0);
  EXPECT_THAT(Train(Options(pair, "nan")), StatusIs(absl::StatusCode::kFailedPrecondition,
                                                    ::testing::AllOf(HasSubstr("at step"), HasSubstr(" view "))));
}

// Tells which frames were read.
class ReadFrames : public Dataset {
 public:
  explicit ReadFrames(const Dataset& inner) : inner_(inner) {}
  absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const override {
    return inner_.Split(split);
  }
  absl::StatusOr<Frame> Read(const std::string& sample) const override {
    const absl::MutexLock lock(&mutex_);
    names_.insert(sample);
    return inner_.Read(sample);
  }
  const std::vector<std::string>& class_names() const override { return inner_.class_names(); }
  absl::StatusOr<std::string> Digest(const std::string& split) const override { return inner_.Digest(split); }
  std::set<std::string> names() const {
    const absl::MutexLock lock(&mutex_);
    return names_;
  }

 private:
  const Dataset& inner_;
  mutable absl::Mutex mutex_;
  mutable std::set<std::string> names_ ABSL_GUARDED_BY(mutex_);
};

TEST_F(WorkerTest, TrainsOnEveryNthFrameWithPastedObjects) {
  v1::Pair pair = DistilJob();
  pair.mutable_data()->set_train_interval(3);
  // Objects are cut out of whole frames, whatever the job crops.
  v1::Data whole = pair.data();
  ASSERT_TRUE(whole.fov_crop());
  whole.set_fov_crop(false);
  const std::unique_ptr<Dataset> uncropped = *OpenDataset(whole);
  ASSERT_THAT(WriteObjectDatabase(*uncropped, "train", *folder_ / "objects"), IsOk());
  pair.mutable_data()->mutable_augmentation()->set_objects(*folder_ / "objects");
  for (int i = 0; i < 3; ++i) pair.mutable_data()->mutable_augmentation()->add_paste(5);
  TrainerOptions options = Options(pair, "pasted");
  const ReadFrames frames(*dataset_);
  options.dataset = &frames;
  auto pasted = Train(std::move(options));
  ASSERT_THAT(pasted, IsOk());
  EXPECT_THAT(frames.names(), ::testing::ElementsAre("000000", "000003", "000006"));

  pair.mutable_data()->mutable_augmentation()->clear_objects();
  auto plain = Train(Options(pair, "plain"));
  ASSERT_THAT(plain, IsOk());
  EXPECT_TRUE(SaveWeights(**pasted) != SaveWeights(**plain)) << "what was pasted has taught nothing";

  pair.mutable_data()->set_train_interval(kFrames + 1);
  EXPECT_THAT(Train(Options(pair, "interval")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("data.train_interval is 9")));
}

// Two ranks that are threads and start from one checkpoint, because threads share the generator of a fresh start.
class TwoRanksTest : public WorkerTest {
 protected:
  static constexpr absl::Duration kTimeout = absl::Minutes(1);
  static constexpr char kPrefix[] = "half-1/1/";

  void SetUp() override {
    checkpoint_ = *folder_ / "start/checkpoints/step-5.safetensors";
    if (!std::filesystem::exists(checkpoint_)) {
      ASSERT_THAT(Train(Options(DistilJob(), "start")), IsOk());
    }
    table_.Begin(kPrefix);
  }

  // What becomes of the student on every rank. `change` may alter a rank's options.
  std::vector<absl::StatusOr<std::string>> TrainRanks(
      const std::string& folder, const std::function<std::unique_ptr<GradientSync>(uint32_t)>& make_sync,
      const std::function<void(uint32_t, TrainerOptions&)>& change = [](uint32_t, TrainerOptions&) {}) {
    // Two steps an epoch: twelve in all.
    v1::Pair pair = DistilJob();
    pair.mutable_train()->set_epochs(6);
    std::vector<TrainerOptions> options(2);
    for (uint32_t rank = 0; rank < 2; ++rank) {
      options[rank] = Options(pair, folder);
      options[rank].checkpoint = checkpoint_;
      change(rank, options[rank]);
    }
    std::vector<absl::StatusOr<std::string>> students(2);
    std::vector<std::thread> threads;
    for (uint32_t rank = 0; rank < 2; ++rank) {
      options[rank].dataset = dataset_.get();
      threads.emplace_back([&, rank] {
        const std::unique_ptr<GradientSync> sync = make_sync(rank);
        options[rank].sync = sync.get();
        auto student = Train(std::move(options[rank]));
        students[rank] = student.ok() ? SaveWeights(**student) : absl::StatusOr<std::string>(student.status());
      });
    }
    for (std::thread& thread : threads) thread.join();
    return students;
  }
  std::unique_ptr<GradientSync> OverGloo(uint32_t rank) {
    auto sync =
        ProcessGroupSync::Create({.rank = rank, .world_size = 2, .prefix = kPrefix, .timeout = kTimeout}, table_);
    EXPECT_THAT(sync, IsOk());
    return *std::move(sync);
  }

  std::string checkpoint_;
  RendezvousTable table_;
};

TEST_F(TwoRanksTest, LearnTheSameBitForBitAsWhenTheirGradientsAreAveragedByHand) {
  std::vector<std::vector<uint64_t>> committed(2);
  const auto gloo = TrainRanks(
      "gloo", [&](uint32_t rank) { return OverGloo(rank); },
      [&](uint32_t rank, TrainerOptions& options) {
        options.on_checkpoint = [&committed, rank](uint64_t step, const std::string&, const std::string&) {
          committed[rank].push_back(step);
          return std::vector<std::string>();
        };
      });
  FakeGroup group(2, kTimeout);
  const auto by_hand =
      TrainRanks("by-hand", [&](uint32_t rank) { return std::make_unique<FakeGradientSync>(group, rank); });
  for (uint32_t rank = 0; rank < 2; ++rank) {
    ASSERT_THAT(gloo[rank], IsOk());
    ASSERT_THAT(by_hand[rank], IsOk());
  }
  EXPECT_TRUE(*gloo[0] == *gloo[1]) << "ranks differ";
  EXPECT_TRUE(*gloo[0] == *by_hand[0]);
  EXPECT_THAT(committed[0], ::testing::ElementsAre(10, 12));
  EXPECT_THAT(committed[1], ::testing::IsEmpty());
  EXPECT_EQ(*ReadFile(*folder_ / "gloo/checkpoints/step-12.safetensors"),
            *ReadFile(*folder_ / "by-hand/checkpoints/step-12.safetensors"));
}

TEST_F(TwoRanksTest, OneThatLeavesEndsTheOtherAndIsNamed) {
  const auto students = TrainRanks(
      "left", [&](uint32_t rank) { return OverGloo(rank); },
      [](uint32_t rank, TrainerOptions& options) {
        if (rank == 0) return;
        options.should_go_on = [steps = 0]() mutable {
          return steps++ < 2 ? absl::OkStatus() : absl::CancelledError("left");
        };
      });
  EXPECT_THAT(students[1], StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(students[0], StatusIs(absl::StatusCode::kUnavailable, HasSubstr("no word from rank 1")));
}

TEST_F(WorkerTest, EveryMethodTrains) {
  for (const char* name : {"pivotal_logits", "uniform_logits", "feature_roi", "feature_fg"}) {
    v1::Pair pair = Job();
    pair.mutable_train()->set_epochs(1);
    pair.mutable_teacher()->set_weights("teacher.safetensors");
    pair.mutable_student()->mutable_compress()->mutable_width()->set_neck(0.125f);
    pair.mutable_student()->mutable_init()->set_from("teacher");
    pair.add_distill()->set_method(name);
    FillPairDefaults(pair);
    TrainerOptions options = Options(pair, name);
    bool has_term = false;
    options.on_progress = [&](const v1::Progress& progress) { has_term = progress.losses().count(name) > 0; };
    EXPECT_THAT(Train(std::move(options)), IsOk()) << name;
    EXPECT_TRUE(has_term) << name;
  }
}

TEST_F(WorkerTest, EvaluationWritesResultFilesThatScoreTheSame) {
  auto student = Train(Options(Job(), "evaluated"));
  ASSERT_THAT(student, IsOk());
  const std::vector<std::string> samples = *dataset_->Split("val");
  size_t frames = 0;
  const auto evaluation =
      Evaluate(**student, *dataset_, Job().data(), samples, *folder_ / "results", [&frames] { ++frames; });
  ASSERT_THAT(evaluation, IsOk());
  EXPECT_EQ(frames, samples.size());
  EXPECT_GE(evaluation->metrics.at("center_distance/mAP"), 0);
  for (const std::string& sample : samples)
    EXPECT_TRUE(std::filesystem::exists(*folder_ / ("results/" + sample + ".txt")));
}

}  // namespace
}  // namespace kd
