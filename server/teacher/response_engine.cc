#include "server/teacher/response_engine.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/record.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"

namespace kd {
namespace {

// A tensor's records of different selections are different values.
std::string ItemKey(const v1::ResponsePlan::Item& item) {
  return absl::StrCat(item.tensor(), "/", static_cast<int>(item.selection()), "/", item.grid_size());
}

prometheus::Counter& AddCounter(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

ResponseEngine::ResponseEngine(const ResponseEngineOptions& options, Model model, ResponseStore& store,
                               prometheus::Registry& metrics)
    : options_(options),
      model_(std::move(model)),
      store_(store),
      forwards_(AddCounter(metrics, "kd_teacher_forwards_total", "Views that the teacher computed")),
      hits_(AddCounter(metrics, "kd_cache_hits_total", "Responses served without running the teacher")),
      misses_(AddCounter(metrics, "kd_cache_misses_total", "Responses that had to be computed or waited for")),
      forward_seconds_(
          prometheus::BuildHistogram()
              .Name("kd_teacher_forward_seconds")
              .Help("Time of one run of the model, a batch of views")
              .Register(metrics)
              .Add({}, prometheus::Histogram::BucketBoundaries{0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5})),
      thread_([this] { Run(); }) {}

ResponseEngine::~ResponseEngine() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

uint64_t ResponseEngine::forwards_total() const { return static_cast<uint64_t>(forwards_.Value()); }

absl::StatusOr<EngineResponse> ResponseEngine::FromStore(const ResponseData& data, const std::string& sample,
                                                         uint32_t number, const v1::ResponsePlan& plan) {
  EngineResponse response;
  for (const v1::ResponsePlan::Item& item : plan.items()) {
    KD_ASSIGN_OR_RETURN(auto record, store_.Lookup(ResponseKey(data.scope, sample, number, ItemKey(item))));
    KD_ASSIGN_OR_RETURN(const RecordView view, ParseRecord(*record));
    if (!Covers(view.header, item)) return absl::NotFoundError("the stored record is narrower than the plan");
    response.records.push_back(std::move(record));
  }
  response.from_cache = true;
  return response;
}

absl::StatusOr<EngineResponse> ResponseEngine::Answer(const ResponseData& data, const std::string& sample,
                                                      uint32_t number, const v1::ResponsePlan& plan) {
  const v1::ResponsePlan merged = MergePlans(options_.base_plan, plan);
  const std::string name = ResponseKey(data.scope, sample, number, merged.SerializeAsString());
  std::shared_ptr<Flight> flight;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      std::shared_ptr<Flight>& slot = flights_[name];
      if (slot == nullptr) {
        slot = flight = std::make_shared<Flight>();
        flight->plan = merged;
        break;
      }
      flight = slot;
      mutex_.Await(absl::Condition(&flight->done));
    }
    if (!flight->status.ok() || !flight->records.empty()) {
      misses_.Increment();
      return FromFlight(*flight, plan);
    }
    // Its owner found what it wanted in the store, which may be another part of the merged plan than this call's.
  }
  // The store is asked after the flight began and gets the answer before it ends, so no view is computed twice.
  absl::StatusOr<EngineResponse> stored = FromStore(data, sample, number, plan);
  const absl::Status status = stored.ok() ? absl::OkStatus() : Compute(data, sample, number, flight);
  {
    absl::MutexLock lock(&mutex_);
    flights_.erase(name);
    flight->status = status;
    flight->done = true;
  }
  if (stored.ok()) {
    hits_.Increment();
    return stored;
  }
  misses_.Increment();
  return FromFlight(*flight, plan);
}

absl::StatusOr<EngineResponse> ResponseEngine::FromFlight(const Flight& flight, const v1::ResponsePlan& plan) {
  KD_RETURN_IF_ERROR(flight.status);
  EngineResponse response;
  for (const v1::ResponsePlan::Item& item : plan.items()) {
    const auto found = flight.records.find(ItemKey(item));
    if (found == flight.records.end()) {
      return absl::InternalError(absl::StrCat("the teacher gave no record of \"", item.tensor(), "\""));
    }
    response.records.push_back(found->second);
  }
  return response;
}

// Called by the flight's owner: builds the view, lets the model's thread run it, stores the result.
absl::Status ResponseEngine::Compute(const ResponseData& data, const std::string& sample, uint32_t number,
                                     const std::shared_ptr<Flight>& flight) {
  KD_ASSIGN_OR_RETURN(Frame frame, data.dataset->Read(sample));
  KD_ASSIGN_OR_RETURN(flight->view, data.views.Make(std::move(frame), number));
  {
    absl::MutexLock lock(&mutex_);
    if (stop_) return absl::CancelledError("the teacher is stopping");
    queue_.push_back(flight);
    const auto answered = [&flight]() { return !flight->records.empty() || !flight->status.ok(); };
    mutex_.Await(absl::Condition(&answered));
    KD_RETURN_IF_ERROR(flight->status);
  }
  for (const v1::ResponsePlan::Item& item : flight->plan.items()) {
    // A store that is full or read-only keeps nothing; the response goes out all the same.
    const std::string key = ItemKey(item);
    store_.Insert(ResponseKey(data.scope, sample, number, key), flight->records.at(key)).IgnoreError();
  }
  return absl::OkStatus();
}

void ResponseEngine::Run() {
  while (true) {
    std::vector<std::shared_ptr<Flight>> batch;
    {
      absl::MutexLock lock(&mutex_);
      const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || !queue_.empty(); };
      mutex_.Await(absl::Condition(&has_work));
      if (stop_) {
        for (const auto& flight : queue_) flight->status = absl::CancelledError("the teacher is stopping");
        queue_.clear();
        return;
      }
      // Views of one plan go together.
      const std::string plan = queue_.front()->plan.SerializeAsString();
      while (!queue_.empty() && batch.size() < options_.max_batch && queue_.front()->plan.SerializeAsString() == plan) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
    }
    RunModel(batch);
  }
}

void ResponseEngine::RunModel(const std::vector<std::shared_ptr<Flight>>& batch) {
  std::vector<const Frame*> views;
  for (const auto& flight : batch) views.push_back(&flight->view);
  const auto start = std::chrono::steady_clock::now();
  auto answers = model_(views, batch.front()->plan);
  forward_seconds_.Observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (!answers.ok() && batch.size() > 1) {
    for (const auto& flight : batch) RunModel({flight});
    return;
  }
  if (answers.ok()) forwards_.Increment(static_cast<double>(batch.size()));
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!answers.ok()) {
      batch[i]->status = answers.status();
      continue;
    }
    const auto& items = batch[i]->plan.items();
    for (int j = 0; j < items.size(); ++j) {
      batch[i]->records[ItemKey(items[j])] = std::make_shared<std::string>(std::move((*answers)[i][j]));
    }
  }
}

}  // namespace kd
