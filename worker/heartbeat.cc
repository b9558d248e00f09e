#include "worker/heartbeat.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace kd {
namespace {

constexpr absl::Duration kLongestPeriod = absl::Seconds(1);

}  // namespace

Heartbeat::Heartbeat(CoordinatorClient& client, const v1::JoinRequest& self, const v1::Assignment& assignment,
                     std::function<void()> on_ended)
    : client_(client),
      period_(std::min(kLongestPeriod, absl::Milliseconds(assignment.lease_ms()) / 5)),
      on_ended_(std::move(on_ended)) {
  absl::MutexLock lock(&mutex_);
  request_.set_job_id(self.job_id());
  request_.set_generation(self.generation());
  request_.set_rank(self.rank());
  teacher_address_ = assignment.teacher_address();
  thread_ = std::thread([this] { Run(); });
}

Heartbeat::~Heartbeat() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  client_.StopWaiting();
  thread_.join();
}

void Heartbeat::Report(const v1::Progress& progress) {
  absl::MutexLock lock(&mutex_);
  *request_.mutable_progress() = progress;
}

void Heartbeat::ReportPhase(const std::string& phase) {
  absl::MutexLock lock(&mutex_);
  request_.mutable_progress()->set_phase(phase);
}

void Heartbeat::ExpectEnd() {
  absl::MutexLock lock(&mutex_);
  done_ = true;
}

absl::Status Heartbeat::GoesOn() {
  absl::MutexLock lock(&mutex_);
  return end_;
}

absl::StatusOr<std::string> Heartbeat::TeacherAddress() {
  absl::MutexLock lock(&mutex_);
  if (!end_.ok()) return end_;
  if (teacher_address_.empty()) return absl::UnavailableError("the teacher is being started");
  return teacher_address_;
}

void Heartbeat::Run() {
  while (true) {
    v1::HeartbeatRequest request;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.AwaitWithTimeout(absl::Condition(&stop_), period_);
      if (stop_) return;
      request = request_;
    }
    const absl::StatusOr<v1::HeartbeatResponse> response = client_.Heartbeat(request);
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) return;
      if (response.ok()) {
        teacher_address_ = response->teacher_address();
        continue;
      }
      end_ = response.status();
      if (done_) return;
    }
    LogWarning("stopping: ", response.status().message());
    on_ended_();
    return;
  }
}

}  // namespace kd
