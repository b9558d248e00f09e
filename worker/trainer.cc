#include "worker/trainer.h"

#include <cmath>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "core/detector_config.h"
#include "distill/inherit.h"
#include "distill/method.h"
#include "worker/checkpoint.h"
#include "worker/loader.h"

namespace kd {
namespace {

constexpr absl::Duration kDataTimeout = absl::Minutes(3);
constexpr absl::Duration kReportEvery = absl::Seconds(1);
constexpr size_t kStepsAhead = 4;

// Sums between two reports.
class Meter {
 public:
  Meter(uint64_t total_steps, uint32_t world_size) : world_size_(world_size) { progress_.set_total_steps(total_steps); }

  void AddStep(const StepInput& input, const std::map<std::string, double>& losses, absl::Duration waited) {
    ++steps_;
    samples_ += input.names.size() * world_size_;
    waited_ += waited;
    for (const auto& [name, value] : losses) sums_[name] += value;
    progress_.set_step(input.step + 1);
    progress_.set_epoch(input.epoch + 1);
    progress_.set_responses(progress_.responses() + input.responses.size());
    progress_.set_cache_hits(progress_.cache_hits() + input.cached_responses);
  }
  bool due() const { return absl::Now() - since_ >= kReportEvery; }

  v1::Progress Report(double learning_rate) {
    const double seconds = absl::ToDoubleSeconds(absl::Now() - since_);
    progress_.clear_losses();
    for (const auto& [name, sum] : sums_) (*progress_.mutable_losses())[name] = sum / std::max(steps_, 1);
    progress_.set_learning_rate(learning_rate);
    progress_.set_samples_per_second(static_cast<double>(samples_) / std::max(seconds, 1e-9));
    progress_.set_data_wait_share(absl::ToDoubleSeconds(waited_) / std::max(seconds, 1e-9));
    progress_.set_phase("training");
    sums_.clear();
    steps_ = 0;
    samples_ = 0;
    waited_ = absl::ZeroDuration();
    since_ = absl::Now();
    return progress_;
  }

 private:
  const uint32_t world_size_;
  v1::Progress progress_;
  std::map<std::string, double> sums_;
  int steps_ = 0;
  size_t samples_ = 0;
  absl::Duration waited_;
  absl::Time since_ = absl::Now();
};

// Student, methods and optimiser of one job.
struct State {
  DetectorModel student{nullptr};
  v1::Detector teacher_detector;
  std::vector<std::shared_ptr<DistillationMethod>> methods;
  // Holds the methods as children "0", "1", ... so that their adapters are trained and saved.
  std::shared_ptr<torch::nn::Module> adapters = std::make_shared<torch::nn::Module>();
  std::unique_ptr<AdamOneCycle> optimizer;
};

absl::StatusOr<State> MakeState(const TrainerOptions& options, int64_t total_steps) {
  const v1::Pair& pair = options.pair;
  State state;
  SafeTensorsFile teacher;
  if (!options.teacher_weights.empty()) {
    KD_ASSIGN_OR_RETURN(teacher, ParseSafeTensors(options.teacher_weights));
    KD_ASSIGN_OR_RETURN(state.teacher_detector, DetectorOf(teacher));
  }
  KD_ASSIGN_OR_RETURN(const v1::Detector detector,
                      StudentDetector(pair, options.teacher_weights.empty() ? nullptr : &state.teacher_detector));
  torch::manual_seed(pair.train().seed());
  state.student = DetectorModel(detector);
  if (pair.student().init().from() == "teacher") {
    KD_ASSIGN_OR_RETURN(const InheritStrategy strategy, ParseInheritStrategy(pair.student().init().strategy()));
    const SafeTensorsFile inherited = InheritWeights(teacher, StateDict(*state.student), strategy,
                                                     SourcesOf(state.teacher_detector), SourcesOf(detector));
    KD_RETURN_IF_ERROR(LoadStateDict(inherited, *state.student));
  }
  state.student->to(options.device);
  std::vector<std::pair<std::string, torch::Tensor>> parameters;
  for (const auto& item : state.student->named_parameters())
    parameters.emplace_back(absl::StrCat("student.", item.key()), item.value());
  for (const v1::DistillMethod& spec : pair.distill()) {
    KD_ASSIGN_OR_RETURN(auto method, MakeMethod(spec, state.teacher_detector, detector));
    state.adapters->register_module(absl::StrCat(state.methods.size()), method);
    state.methods.push_back(std::move(method));
  }
  state.adapters->to(options.device);
  for (const auto& item : state.adapters->named_parameters())
    parameters.emplace_back(absl::StrCat("methods.", item.key()), item.value());
  const v1::Train& train = pair.train();
  state.optimizer =
      std::make_unique<AdamOneCycle>(std::move(parameters), AdamOneCycleOptions{.total_steps = total_steps,
                                                                                .lr = train.lr(),
                                                                                .weight_decay = train.weight_decay(),
                                                                                .div_factor = train.div_factor(),
                                                                                .pct_start = train.pct_start()});
  state.student->train();
  return state;
}

// Makes the ranks begin alike and shares their gradients from then on.
absl::Status JoinRanks(GradientSync& sync, State& state) {
  std::vector<torch::Tensor> parameters = state.student->parameters();
  for (const torch::Tensor& parameter : state.adapters->parameters()) parameters.push_back(parameter);
  KD_RETURN_IF_ERROR(sync.Broadcast(parameters));
  KD_RETURN_IF_ERROR(sync.Broadcast(state.student->buffers()));
  return sync.Attach(parameters);
}

// One optimiser step; returns the loss terms.
absl::StatusOr<std::map<std::string, double>> TakeStep(const TrainerOptions& options, const StepInput& input,
                                                       State& state) {
  const Batch batch = ToDevice(input.batch, options.device);
  const Predictions predictions = state.student->Forward(batch);
  const v1::Detector& detector = state.student->config();
  const auto loss = state.student->DetectionLoss(predictions, state.student->Targets(batch.gt_boxes));
  torch::Tensor total = loss.total;
  std::map<std::string, torch::Tensor> terms = loss.terms;
  const torch::Tensor plain_boxes = input.plain_boxes.to(options.device);
  const StepContext context{.student = predictions,
                            .student_probabilities = loss.probabilities,
                            .responses = input.responses,
                            .gt_boxes = plain_boxes,
                            .student_detector = detector,
                            .teacher_detector = state.teacher_detector};
  for (const auto& method : state.methods) {
    for (auto& [name, term] : method->Loss(context)) {
      total = total + term;
      terms[name] = term;
    }
  }
  std::map<std::string, double> values;
  for (const auto& [name, term] : terms) {
    values[name] = term.item<double>();
    if (!std::isfinite(values[name])) {
      return absl::FailedPreconditionError(
          absl::StrFormat("loss term \"%s\" is %g at step %d (frames %s); look at these frames, or lower train.lr",
                          name, values[name], input.step, absl::StrJoin(input.names, ", ")));
    }
  }
  state.optimizer->ZeroGrad();
  if (options.sync == nullptr) {
    total.backward();
  } else {
    KD_RETURN_IF_ERROR(options.sync->Backward(total));
  }
  if (options.pair.train().grad_clip() > 0) state.optimizer->ClipGradients(options.pair.train().grad_clip());
  state.optimizer->Step();
  return values;
}

absl::Status WriteCheckpoint(const TrainerOptions& options, uint64_t step, State& state) {
  if (options.sync != nullptr) {
    // Training does not read the running statistics of batch norms, and every rank's are of other frames: rank 0's,
    // which the checkpoint keeps, become everybody's here.
    KD_RETURN_IF_ERROR(options.sync->Broadcast(state.student->buffers()));
    if (options.sync->rank() != 0) return absl::OkStatus();
  }
  const std::string folder = options.folder + "/checkpoints";
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  const std::string path = absl::StrCat(folder, "/step-", step, ".safetensors");
  KD_ASSIGN_OR_RETURN(const std::string digest,
                      SaveCheckpoint(path, step, *state.student, *state.adapters, *state.optimizer));
  if (!options.on_checkpoint) return absl::OkStatus();
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> obsolete, options.on_checkpoint(step, path, digest));
  std::error_code ignored;
  for (const std::string& old : obsolete) std::filesystem::remove(old, ignored);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Detector> StudentDetector(const v1::Pair& pair, const v1::Detector* teacher) {
  v1::Detector base;
  if (!pair.student().model().empty()) {
    KD_ASSIGN_OR_RETURN(base, BuiltInDetector(pair.student().model()));
  } else if (teacher != nullptr) {
    base = *teacher;
  } else {
    return absl::InvalidArgumentError(
        "student.model is missing; name one, or a teacher whose configuration the student takes");
  }
  if (pair.data().class_names_size() > 0 && pair.student().detector().class_names().empty()) {
    *base.mutable_class_names() = pair.data().class_names();
  }
  return MakeStudentDetector(base, pair.student());
}

absl::StatusOr<DetectorModel> Train(TrainerOptions options) {
  const v1::Pair& pair = options.pair;
  KD_ASSIGN_OR_RETURN(std::vector<std::string> samples, TrainSamples(*options.dataset, pair.data()));
  if (samples.empty())
    return absl::FailedPreconditionError(absl::StrCat("split \"", pair.data().train_split(), "\" has no frames"));
  const SamplerOptions sampler{.seed = pair.train().seed(),
                               .num_samples = static_cast<uint32_t>(samples.size()),
                               .views = pair.data().views(),
                               .batch_size = pair.train().batch_size(),
                               .world_size = options.sync == nullptr ? 1 : options.sync->world_size()};
  const uint64_t total_steps = StepsPerEpoch(sampler) * pair.train().epochs();
  KD_ASSIGN_OR_RETURN(State state, MakeState(options, static_cast<int64_t>(total_steps)));
  uint64_t step = 0;
  if (!options.checkpoint.empty()) {
    KD_ASSIGN_OR_RETURN(step, LoadCheckpoint(options.checkpoint, *state.student, *state.adapters, *state.optimizer));
  }
  if (options.sync != nullptr) KD_RETURN_IF_ERROR(JoinRanks(*options.sync, state));

  Loader loader({.dataset = options.dataset,
                 .views = options.views,
                 .samples = std::move(samples),
                 .sampler = sampler,
                 .rank = options.sync == nullptr ? 0 : options.sync->rank(),
                 .epochs = pair.train().epochs(),
                 .first_step = step,
                 .student = state.student->config(),
                 .methods = state.methods,
                 .source = state.methods.empty() ? nullptr : std::move(options.source),
                 .verify_views = pair.teacher().verify_views(),
                 .ahead = kStepsAhead});
  Meter meter(total_steps, sampler.world_size);
  while (step < total_steps) {
    if (options.should_go_on) KD_RETURN_IF_ERROR(options.should_go_on());
    const absl::Time asked = absl::Now();
    KD_ASSIGN_OR_RETURN(const StepInput input, loader.Next(kDataTimeout));
    const absl::Duration waited = absl::Now() - asked;
    KD_ASSIGN_OR_RETURN(const auto losses, TakeStep(options, input, state));
    meter.AddStep(input, losses, waited);
    ++step;
    if (options.on_progress && (meter.due() || step == total_steps))
      options.on_progress(meter.Report(state.optimizer->learning_rate()));
    if (step % pair.train().checkpoint_every() == 0 || step == total_steps) {
      KD_RETURN_IF_ERROR(WriteCheckpoint(options, step, state));
    }
  }
  if (options.sync != nullptr) KD_RETURN_IF_ERROR(options.sync->Finish());
  state.student->eval();
  return state.student;
}

}  // namespace kd
