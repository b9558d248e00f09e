#include "worker/loader.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status.h"
#include "distill/label_merge.h"

namespace kd {
namespace {

// The alignment of teacher and labels is judged on this many views, by boxes of at least this score.
constexpr int kAlignmentViews = 32;
constexpr float kConfident = 0.5f;
constexpr double kOnLabel = 0.5;  // metres
constexpr double kMinShare = 0.5;
// Fewer boxes than these prove nothing.
constexpr int kMinBoxes = 10;

bool IsFinite(const Detection& detection) {
  const Box3d& b = detection.box;
  const float values[] = {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw, detection.score};
  return std::all_of(std::begin(values), std::end(values), [](float value) { return std::isfinite(value); });
}

}  // namespace

v1::ResponsePlan JointPlan(const std::vector<std::shared_ptr<DistillationMethod>>& methods) {
  v1::ResponsePlan plan;
  for (const auto& method : methods) plan = MergePlans(plan, method->Plan());
  if (!methods.empty()) {
    // The teacher's boxes show whether it sees what the labels show.
    v1::ResponsePlan boxes;
    v1::ResponsePlan::Item* item = boxes.add_items();
    item->set_tensor("boxes");
    item->set_selection(v1::SELECTION_OBJECTS);
    item->set_dtype(v1::DATA_TYPE_FLOAT32);
    plan = MergePlans(plan, boxes);
  }
  return plan;
}

Loader::Loader(LoaderOptions options)
    : options_(std::move(options)),
      steps_per_epoch_(StepsPerEpoch(options_.sampler)),
      total_steps_(steps_per_epoch_ * options_.epochs),
      thread_([this] { Run(); }) {}

Loader::~Loader() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

absl::StatusOr<StepInput> Loader::Next(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto has_input = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !ready_.empty(); };
  if (!mutex_.AwaitWithTimeout(absl::Condition(&has_input), timeout)) {
    return absl::DeadlineExceededError(absl::StrCat("no training data after ", absl::FormatDuration(timeout),
                                                    ": the loader waits for frames or for the teacher's responses"));
  }
  absl::StatusOr<StepInput> next = std::move(ready_.front());
  // An error stays, so that every later call sees it too.
  if (next.ok()) {
    ready_.pop_front();
  } else {
    ready_.front() = next.status();
  }
  return next;
}

void Loader::Run() {
  absl::Status status;
  if (options_.source != nullptr) {
    std::vector<v1::ViewRef> views;
    for (uint64_t step = options_.first_step; step < total_steps_; ++step) {
      const std::vector<SampleView>& order = OrderOf(static_cast<uint32_t>(step / steps_per_epoch_));
      for (uint32_t i = 0; i < options_.sampler.batch_size; ++i) {
        const SampleView& item = order[(step % steps_per_epoch_) * options_.sampler.batch_size + i];
        v1::ViewRef& view = views.emplace_back();
        view.set_sample(options_.samples[item.sample]);
        view.set_view(item.view);
      }
    }
    status = options_.source->Start(JointPlan(options_.methods), std::move(views));
  }
  for (uint64_t step = options_.first_step;; ++step) {
    if (status.ok() && step >= total_steps_) status = absl::OutOfRangeError("the job's steps are done");
    absl::StatusOr<StepInput> input = status.ok() ? Prepare(step) : absl::StatusOr<StepInput>(status);
    const bool last = !input.ok();
    absl::MutexLock lock(&mutex_);
    const auto has_room = [this]()
                              ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || ready_.size() < options_.ahead; };
    mutex_.Await(absl::Condition(&has_room));
    if (stop_) return;
    ready_.push_back(std::move(input));
    if (last) return;
  }
}

const std::vector<SampleView>& Loader::OrderOf(uint32_t epoch) {
  if (epoch != order_epoch_) {
    order_ = EpochOrder(options_.sampler, epoch, options_.rank);
    order_epoch_ = epoch;
  }
  return order_;
}

absl::StatusOr<StepInput> Loader::Prepare(uint64_t step) {
  StepInput input;
  input.step = step;
  input.epoch = static_cast<uint32_t>(step / steps_per_epoch_);
  std::vector<Frame> views;
  std::vector<std::vector<LabeledBox>> plain;
  for (uint32_t i = 0; i < options_.sampler.batch_size; ++i) {
    const SampleView item = OrderOf(input.epoch)[(step % steps_per_epoch_) * options_.sampler.batch_size + i];
    KD_ASSIGN_OR_RETURN(Frame frame, options_.dataset->Read(options_.samples[item.sample]));
    KD_ASSIGN_OR_RETURN(views.emplace_back(), options_.views->Make(std::move(frame), item.view));
    input.names.push_back(absl::StrCat(views.back().sample, " view ", item.view));
    plain.push_back(views.back().boxes);
    if (options_.source == nullptr) continue;
    KD_ASSIGN_OR_RETURN(input.responses.emplace_back(), Receive(views.back(), item.view, input));
    for (const auto& method : options_.methods) {
      views.back().boxes = method->Targets(std::move(views.back().boxes), input.responses.back());
    }
  }
  if ((step + 1) % steps_per_epoch_ == 0 && views_checked_ < kAlignmentViews) KD_RETURN_IF_ERROR(JudgeAlignment());
  std::vector<const Frame*> pointers;
  for (const Frame& view : views) pointers.push_back(&view);
  input.batch = MakeBatch(pointers, options_.student, /*training=*/true);
  input.plain_boxes = input.batch.gt_boxes;
  if (options_.source != nullptr) {
    for (size_t i = 0; i < views.size(); ++i) views[i].boxes = plain[i];
    input.plain_boxes = BoxTensor(pointers);
  }
  return input;
}

absl::StatusOr<Response> Loader::Receive(const Frame& view, uint32_t number, StepInput& input) {
  KD_ASSIGN_OR_RETURN(const ReceivedResponse received, options_.source->Next(view));
  input.cached_responses += received.from_cache;
  const uint32_t own = ViewChecksum(view);
  Response response;
  for (const std::string& bytes : received.records) {
    absl::StatusOr<DecodedRecord> decoded = DecodeRecord(bytes);
    if (!decoded.ok()) {
      return Annotate(decoded.status(),
                      absl::StrFormat("frame %s view %u: the teacher's answer is damaged; restart the "
                                      "teacher and submit again",
                                      view.sample, number));
    }
    DecodedRecord record = *std::move(decoded);
    if (options_.verify_views && record.header.view_crc32c() != own) {
      return absl::FailedPreconditionError(
          absl::StrFormat("frame %s view %u: the teacher answered another view (its checksum is %08x, the worker's "
                          "%08x); teacher and worker "
                          "must read the same files with the same version and data settings; if files were replaced in "
                          "place, delete the "
                          "teacher's cache folder",
                          view.sample, number, record.header.view_crc32c(), own));
    }
    const std::string tensor = record.header.tensor();
    response.emplace(tensor, std::move(record));
  }
  KD_RETURN_IF_ERROR(AddToAlignment(view, number, response));
  return response;
}

absl::Status Loader::AddToAlignment(const Frame& view, uint32_t number, const Response& response) {
  const auto boxes = response.find("boxes");
  if (boxes == response.end()) return absl::OkStatus();
  std::vector<Detection> confident = DetectionsOf(boxes->second);
  if (!std::all_of(confident.begin(), confident.end(), IsFinite)) {
    return absl::FailedPreconditionError(
        absl::StrFormat("frame %s view %u: a box of the teacher is not of finite numbers; its training diverged, train "
                        "the teacher anew",
                        view.sample, number));
  }
  if (!options_.verify_views || views_checked_ >= kAlignmentViews) return absl::OkStatus();
  confident.erase(
      std::remove_if(confident.begin(), confident.end(), [](const Detection& d) { return d.score < kConfident; }),
      confident.end());
  if (confident.empty()) return absl::OkStatus();
  const double share = ShareOfBoxesOnLabels(confident, view.boxes, kOnLabel);
  ++views_checked_;
  boxes_seen_ += static_cast<int>(confident.size());
  boxes_on_labels_ += static_cast<int>(std::lround(share * static_cast<double>(confident.size())));
  if (share < kMinShare && misaligned_view_.empty()) misaligned_view_ = absl::StrCat(view.sample, " view ", number);
  return views_checked_ < kAlignmentViews ? absl::OkStatus() : JudgeAlignment();
}

absl::Status Loader::JudgeAlignment() const {
  if (boxes_seen_ < kMinBoxes || boxes_on_labels_ >= kMinShare * boxes_seen_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrFormat("only %d of the teacher's %d confident boxes lie within %.1f m of a label of the same view (%d "
                      "views, one of them is "
                      "frame %s); compare the teacher's coordinate conventions and classes with the data set's before "
                      "distilling from it",
                      boxes_on_labels_, boxes_seen_, kOnLabel, views_checked_, misaligned_view_));
}

}  // namespace kd
