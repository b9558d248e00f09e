#include "server/teacher/response_engine.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "core/record.h"
#include "data/view.h"
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

ResponseEngine::ResponseEngine(const ResponseEngineOptions& options, Model model, ResponseStore& store, prometheus::Registry& metrics)
    : options_(options),
      model_(std::move(model)),
      store_(store),
      forwards_(AddCounter(metrics, "kd_teacher_forwards_total", "Views that the teacher computed")),
      hits_(AddCounter(metrics, "kd_cache_hits_total", "Responses served without running the teacher")),
      misses_(AddCounter(metrics, "kd_cache_misses_total", "Responses that had to be computed or waited for")),
      forward_seconds_(prometheus::BuildHistogram().Name("kd_teacher_forward_seconds").Help("Time of one run of the model, a batch of views")
                           .Register(metrics).Add({}, prometheus::Histogram::BucketBoundaries{0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5})),
      thread_([this] { Run(); }) {}

ResponseEngine::~ResponseEngine() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  thread_.join();
}

uint64_t ResponseEngine::forwards_total() const { return static_cast<uint64_t>(forwards_.Value()); }

absl::StatusOr<EngineResponse> ResponseEngine::FromStore(const ResponseData& data, const std::string& sample, uint32_t number,
                                                         const v1::ResponsePlan& plan) {
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

absl::StatusOr<EngineResponse> ResponseEngine::Answer(const ResponseData& data, const std::string& sample, uint32_t number,
                                                      const v1::ResponsePlan& plan) {
  if (auto stored = FromStore(data, sample, number, plan); stored.ok()) {
    hits_.Increment();
    return stored;
  }
  misses_.Increment();
  const v1::ResponsePlan merged = MergePlans(options_.base_plan, plan);
  const std::string name = ResponseKey(data.scope, sample, number, merged.SerializeAsString());
  std::shared_ptr<Flight> flight;
  bool mine = false;
  {
    absl::MutexLock lock(&mutex_);
    std::shared_ptr<Flight>& slot = flights_[name];
    if (slot == nullptr) {
      slot = std::make_shared<Flight>();
      slot->plan = merged;
      mine = true;
    }
    flight = slot;
  }
  if (mine) {
    // A flight that ended between the look into the store and this one's start has stored what is wanted.
    auto stored = FromStore(data, sample, number, plan);
    const absl::Status status = stored.ok() ? absl::OkStatus() : Compute(data, sample, number, *flight);
    absl::MutexLock lock(&mutex_);
    flights_.erase(name);
    flight->done = true;
    flight->status = status;
    if (stored.ok()) {
      for (int i = 0; i < plan.items_size(); ++i) flight->records[ItemKey(plan.items(i))] = stored->records[i];
    }
  }
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&flight->done));
  KD_RETURN_IF_ERROR(flight->status);
  EngineResponse response;
  for (const v1::ResponsePlan::Item& item : plan.items()) {
    const auto found = flight->records.find(ItemKey(item));
    if (found == flight->records.end()) return absl::InternalError(absl::StrCat("the teacher gave no record of \"", item.tensor(), "\""));
    response.records.push_back(found->second);
  }
  return response;
}

// Called by the flight's owner: builds the view, lets the model's thread run it, stores the result.
absl::Status ResponseEngine::Compute(const ResponseData& data, const std::string& sample, uint32_t number, Flight& flight) {
  KD_ASSIGN_OR_RETURN(const Frame frame, data.dataset->Read(sample));
  flight.view = MakeView(frame, data.data, number);
  // The model's thread fills in the records or the status; the owner keeps the flight alive until then.
  auto entry = std::shared_ptr<Flight>(&flight, [](Flight*) {});
  absl::flat_hash_map<std::string, std::shared_ptr<const std::string>> records;
  {
    absl::MutexLock lock(&mutex_);
    if (stop_) return absl::CancelledError("the teacher is stopping");
    queue_.push_back(entry);
    const auto answered = [&flight]() { return !flight.records.empty() || !flight.status.ok(); };
    mutex_.Await(absl::Condition(&answered));
    KD_RETURN_IF_ERROR(flight.status);
    records = flight.records;
  }
  for (const v1::ResponsePlan::Item& item : flight.plan.items()) {
    // A store that is full or read-only keeps nothing; the response goes out all the same.
    store_.Insert(ResponseKey(data.scope, sample, number, ItemKey(item)), records.at(ItemKey(item))).IgnoreError();
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
    std::vector<const Frame*> views;
    for (const auto& flight : batch) views.push_back(&flight->view);
    const auto start = std::chrono::steady_clock::now();
    const auto answers = model_(views, batch.front()->plan);
    forward_seconds_.Observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    forwards_.Increment(static_cast<double>(batch.size()));
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < batch.size(); ++i) {
      if (!answers.ok()) {
        batch[i]->status = answers.status();
        continue;
      }
      const auto& items = batch[i]->plan.items();
      for (int j = 0; j < items.size(); ++j) batch[i]->records[ItemKey(items[j])] = std::make_shared<std::string>((*answers)[i][j]);
    }
  }
}

}  // namespace kd
