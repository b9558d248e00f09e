// What becomes of a job whose teacher does not see what the student sees: refused, and when it is forced, worse.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <limits>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "core/pair.h"
#include "core/record.h"
#include "data/simulator.h"
#include "gtest/gtest.h"
#include "server/teacher/response_engine.h"
#include "server/teacher/teacher_service.h"
#include "storage/memory/memory_response_store.h"
#include "worker/evaluate.h"
#include "worker/trainer.h"

namespace kd {
namespace {

using ::testing::ContainsRegex;

// 400 steps for the teacher, 200 for a student: where distillation gains most (docs/benchmark.md), and a minute or so.
constexpr uint32_t kTrainFrames = 200, kValFrames = 80, kTeacherEpochs = 8, kStudentEpochs = 4;
// A split that is too small for the alignment of boxes to be judged before its end.
constexpr int kFewFrames = 12;

class MisalignmentTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Loader and training loop have a thread each; more would only wait for each other on a busy machine.
    torch::set_num_threads(1);
    folder_ = new TemporaryFolder;
    const SimulatorOptions simulator{
        .root = *folder_ / "sim", .train_frames = kTrainFrames, .val_frames = kValFrames, .seed = 11};
    ASSERT_THAT(WriteSimulatedKitti(simulator, nullptr), IsOk());
    std::ofstream few(*folder_ / "sim/ImageSets/few.txt");
    for (int i = 0; i < kFewFrames; ++i) few << "0000" << i / 10 << i % 10 << "\n";
    few.close();
    v1::Pair job = Job(0.5f, kTeacherEpochs);
    dataset_ = OpenDataset(job.data())->release();
    const ViewMaker views = Views(job);
    auto teacher = Train({.pair = job, .folder = *folder_ / "teacher", .dataset = dataset_, .views = &views});
    ASSERT_THAT(teacher, IsOk());
    teacher_weights_ = new std::string(SaveWeights(**teacher));
  }
  static void TearDownTestSuite() {
    delete teacher_weights_;
    delete dataset_;
    delete folder_;
  }

  static v1::Pair Job(float width, uint32_t epochs) {
    v1::Pair pair;
    pair.set_api_version("kd/v1");
    pair.set_kind("Pair");
    pair.mutable_metadata()->set_name("control");
    pair.mutable_student()->set_model("centerpoint_pillar_sim");
    v1::Compress::Width* widths = pair.mutable_student()->mutable_compress()->mutable_width();
    widths->set_pfn(0.5f);
    widths->set_backbone(width);
    widths->set_neck(width);
    widths->set_head(width);
    pair.mutable_data()->set_format("kitti");
    pair.mutable_data()->set_root(*folder_ / "sim");
    for (const char* name : kSimulatedClasses) pair.mutable_data()->add_class_names(name);
    pair.mutable_data()->set_views(4);
    pair.mutable_data()->mutable_augmentation()->set_rotation(0.39f);
    pair.mutable_train()->set_epochs(epochs);
    pair.mutable_train()->set_lr(0.01);
    pair.mutable_train()->set_checkpoint_every(10'000);
    FillPairDefaults(pair);
    return pair;
  }

  // The pivotal logits, labels and inheritance of the benchmark's row "all".
  static v1::Pair DistilJob(uint32_t view_offset) {
    v1::Pair pair = Job(0.25f, kStudentEpochs);
    pair.mutable_teacher()->set_weights("teacher.safetensors");
    pair.mutable_teacher()->set_view_offset(view_offset);
    pair.mutable_student()->mutable_init()->set_from("teacher");
    v1::DistillMethod* logits = pair.add_distill();
    logits->set_method("pivotal_logits");
    logits->set_weight(15);
    v1::DistillMethod* label = pair.add_distill();
    label->set_method("label");
    for (const float threshold : {0.6f, 0.5f, 0.5f}) label->add_score_thresh(threshold);
    FillPairDefaults(pair);
    return pair;
  }

  static ViewMaker Views(const v1::Pair& pair) { return *ViewMaker::Open(pair.data(), *dataset_); }

  static std::unique_ptr<ResponseSource> InProcess(const v1::Pair& pair) {
    auto teacher = *TeacherModel::Create(*teacher_weights_);
    const uint32_t offset = pair.teacher().view_offset();
    return offset == 0 ? NewInProcessSource(std::move(teacher))
                       : NewMisalignedSource(std::move(teacher), *dataset_, Views(pair), offset);
  }

  static absl::StatusOr<DetectorModel> TrainWith(const v1::Pair& pair, std::unique_ptr<ResponseSource> source,
                                                 uint64_t* steps = nullptr) {
    TrainerOptions options;
    options.pair = pair;
    options.folder = *folder_ / absl::StrCat("offset-", pair.teacher().view_offset());
    options.dataset = dataset_;
    const ViewMaker views = Views(pair);
    options.views = &views;
    options.teacher_weights = *teacher_weights_;
    options.source = std::move(source);
    options.on_progress = [steps](const v1::Progress& progress) {
      if (steps != nullptr) *steps = progress.step();
    };
    return Train(std::move(options));
  }

  static double Score(const v1::Pair& pair) {
    auto student = TrainWith(pair, InProcess(pair));
    EXPECT_THAT(student, IsOk());
    if (!student.ok()) return std::numeric_limits<double>::quiet_NaN();
    return Evaluate(**student, *dataset_, pair.data(), *dataset_->Split("val"), "")->metrics.at("center_distance/mAP");
  }

  static TemporaryFolder* folder_;
  static const Dataset* dataset_;
  static std::string* teacher_weights_;
};
TemporaryFolder* MisalignmentTest::folder_ = nullptr;
const Dataset* MisalignmentTest::dataset_ = nullptr;
std::string* MisalignmentTest::teacher_weights_ = nullptr;

constexpr char kOtherView[] =
    "^frame 000[0-9]+ view [1-4]: the teacher answered another view \\(its checksum is [0-9a-f]{8}, the worker's "
    "[0-9a-f]{8}\\); teacher and worker must read the same files with the same version and data settings; if files "
    "were "
    "replaced in place, delete the teacher's cache folder$";

TEST_F(MisalignmentTest, AResponseToAnotherViewIsRefusedBeforeItsFirstUse) {
  uint64_t steps = 0;
  const v1::Pair pair = DistilJob(/*view_offset=*/1);
  EXPECT_THAT(TrainWith(pair, InProcess(pair), &steps),
              StatusIs(absl::StatusCode::kFailedPrecondition, ContainsRegex(kOtherView)));
  EXPECT_EQ(steps, 0u);
}

TEST_F(MisalignmentTest, ATeacherServerThatAnswersAnotherViewIsRefusedToo) {
  const v1::Pair pair = DistilJob(/*view_offset=*/1);
  const auto model = *TeacherModel::Create(*teacher_weights_);
  const auto store = NewMemoryResponseStore(64 << 20);
  prometheus::Registry metrics;
  ResponseEngine engine(
      {}, [&](const auto& views, const auto& plan) { return model->Answer(views, plan); }, *store, metrics);
  const auto server =
      *TeacherServer::Start({.digest = model->digest(), .detector = model->detector()}, engine, *store, *store);
  RemoteSourceOptions remote;
  remote.request.set_teacher_digest(model->digest());
  *remote.request.mutable_data() = pair.data();
  remote.request.set_view_offset(pair.teacher().view_offset());
  remote.address = [&]() -> absl::StatusOr<std::string> { return server->address(); };
  EXPECT_THAT(TrainWith(pair, NewRemoteSource(std::move(remote))),
              StatusIs(absl::StatusCode::kFailedPrecondition, ContainsRegex(kOtherView)));
}

// A teacher whose boxes are somewhere else: `change` gets one row of x y z dx dy dz yaw score label.
class OtherBoxesSource : public ResponseSource {
 public:
  OtherBoxesSource(std::unique_ptr<ResponseSource> inner, std::function<void(float*)> change)
      : inner_(std::move(inner)), change_(std::move(change)) {}
  absl::Status Start(const v1::ResponsePlan& plan, std::vector<v1::ViewRef> views) override {
    return inner_->Start(plan, std::move(views));
  }
  absl::StatusOr<ReceivedResponse> Next(const Frame& view) override {
    ReceivedResponse response = *inner_->Next(view);
    for (std::string& bytes : response.records) {
      DecodedRecord record = *DecodeRecord(bytes);
      if (record.header.tensor() != "boxes") continue;
      for (size_t i = 0; i + 9 <= record.values.size(); i += 9) change_(&record.values[i]);
      bytes = *EncodeRecord(record.header, record.indices, record.values);
    }
    return response;
  }

 private:
  const std::unique_ptr<ResponseSource> inner_;
  const std::function<void(float*)> change_;
};

// y to the right, as in a camera's frame.
void Mirror(float* box) {
  box[1] = -box[1];
  box[6] = -box[6];
}

constexpr char kOffTheLabels[] =
    "^only [0-9]+ of the teacher's [0-9]+ confident boxes lie within 0.5 m of a label of the same view \\([0-9]+ "
    "views, one "
    "of them is frame 000[0-9]+ view [1-4]\\); compare the teacher's coordinate conventions and classes with the data "
    "set's "
    "before distilling from it$";

TEST_F(MisalignmentTest, ATeacherWithOtherAxesIsRefused) {
  const v1::Pair pair = DistilJob(0);
  EXPECT_THAT(TrainWith(pair, std::make_unique<OtherBoxesSource>(InProcess(pair), Mirror)),
              StatusIs(absl::StatusCode::kFailedPrecondition, ContainsRegex(kOffTheLabels)));
}

TEST_F(MisalignmentTest, AFewFramesAreEnoughToRefuseATeacherWithOtherAxes) {
  v1::Pair pair = DistilJob(0);
  pair.mutable_data()->set_train_split("few");
  pair.mutable_train()->set_epochs(1);
  EXPECT_THAT(TrainWith(pair, std::make_unique<OtherBoxesSource>(InProcess(pair), Mirror)),
              StatusIs(absl::StatusCode::kFailedPrecondition, ContainsRegex(kOffTheLabels)));
  EXPECT_THAT(TrainWith(pair, InProcess(pair)), IsOk());
}

TEST_F(MisalignmentTest, ABoxThatIsNoBoxIsRefusedEvenWhenForced) {
  v1::Pair pair = DistilJob(0);
  pair.mutable_teacher()->set_verify_views(false);
  const auto spoil = [](float* box) { box[3] = std::numeric_limits<float>::infinity(); };
  EXPECT_THAT(
      TrainWith(pair, std::make_unique<OtherBoxesSource>(InProcess(pair), spoil)),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               ContainsRegex("^frame 000[0-9]+ view [1-4]: a box of the teacher is not of finite numbers; .*train")));
}

// The negative control: a run that passes although it is misaligned must end worse, or the checks guard nothing.
TEST_F(MisalignmentTest, ForcedMisalignmentEndsWorse) {
  v1::Pair forced = DistilJob(/*view_offset=*/1);
  forced.mutable_teacher()->set_verify_views(false);
  const double aligned_ap = Score(DistilJob(0)), forced_ap = Score(forced);
  std::cout << "mAP aligned " << aligned_ap << ", misaligned " << forced_ap << std::endl;
  EXPECT_GT(aligned_ap, forced_ap + 4);
}

}  // namespace
}  // namespace kd
