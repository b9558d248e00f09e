#include "server/teacher/registration.h"

#include <unistd.h>

#include <utility>

#include "base/log.h"

namespace kd {
namespace {

// A coordinator that is gone for longer will not take this process up again.
constexpr absl::Duration kPatience = absl::Minutes(10);

}  // namespace

TeacherRegistration::TeacherRegistration(const std::string& coordinator, const std::string& digest,
                                         std::function<void(const std::string&)> on_dismissed)
    : client_(coordinator, kPatience), on_dismissed_(std::move(on_dismissed)) {
  absl::MutexLock lock(&mutex_);
  request_.set_digest(digest);
  request_.set_pid(::getpid());
  thread_ = std::thread([this] { Run(); });
}

TeacherRegistration::~TeacherRegistration() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  client_.StopWaiting();
  thread_.join();
}

void TeacherRegistration::SetReady(const std::string& address, const std::string& metrics_url) {
  absl::MutexLock lock(&mutex_);
  request_.set_ready(true);
  request_.set_address(address);
  request_.set_metrics_url(metrics_url);
  changed_ = true;
}

void TeacherRegistration::Refuse(const std::string& reason) {
  v1::RegisterTeacherRequest request;
  {
    absl::MutexLock lock(&mutex_);
    request_.set_error(reason);
    request = request_;
  }
  const absl::Status status = client_.RegisterTeacher(request).status();
  if (!status.ok()) LogWarning("the coordinator does not know why this teacher ends: ", status.message());
}

void TeacherRegistration::Run() {
  absl::Duration pause;
  while (true) {
    v1::RegisterTeacherRequest request;
    {
      absl::MutexLock lock(&mutex_);
      const auto woken = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stop_ || changed_; };
      mutex_.AwaitWithTimeout(absl::Condition(&woken), pause);
      if (stop_) return;
      changed_ = false;
      request = request_;
    }
    const absl::StatusOr<v1::RegisterTeacherResponse> response = client_.RegisterTeacher(request);
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) return;
    }
    if (!response.ok()) {
      on_dismissed_(std::string(response.status().message()));
      return;
    }
    pause = absl::Milliseconds(response->lease_ms()) / 5;
  }
}

}  // namespace kd
