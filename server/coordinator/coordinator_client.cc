#include "server/coordinator/coordinator_client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/grpc_channel.h"
#include "base/grpc_status.h"
#include "base/status.h"
#include "kd/v1/coordinator.grpc.pb.h"

namespace kd {
namespace {

constexpr absl::Duration kAttempt = absl::Seconds(10);
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(1);

}  // namespace

struct CoordinatorClient::Impl {
  Impl(const std::string& where, absl::Duration how_long)
      : address(where), patience(how_long), stub(v1::WorkerService::NewStub(NewGrpcChannel(where))) {}

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::WorkerService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                                Response*),
                                const Request& request) {
    const absl::Time start = absl::Now();
    absl::Duration pause = kFirstPause;
    while (true) {
      grpc::ClientContext context;
      context.set_deadline(absl::ToChronoTime(absl::Now() + kAttempt));
      Response response;
      const absl::Status status = FromGrpcStatus((stub.get()->*method)(&context, request, &response));
      if (status.ok()) return response;
      // A coordinator that stops cancels what it has begun.
      const bool silent = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
      if (!silent && !IsRetryable(status)) return status;
      const absl::Duration waited = absl::Now() - start;
      if (waited + pause > patience) {
        if (!silent) return Annotate(status, absl::StrCat("the coordinator at ", address));
        return absl::UnavailableError(absl::StrCat("the coordinator at ", address, " has not answered for ",
                                                   absl::ToInt64Seconds(waited), " s: ", status.message()));
      }
      if (stopped.WaitForNotificationWithTimeout(pause))
        return absl::CancelledError("asked to stop waiting for the coordinator");
      pause = std::min(2 * pause, kLongestPause);
    }
  }

  const std::string address;
  const absl::Duration patience;
  const std::unique_ptr<v1::WorkerService::Stub> stub;
  absl::Notification stopped;
};

CoordinatorClient::CoordinatorClient(const std::string& address, absl::Duration patience)
    : impl_(std::make_unique<Impl>(address, patience)) {}
CoordinatorClient::~CoordinatorClient() = default;

void CoordinatorClient::StopWaiting() {
  if (!impl_->stopped.HasBeenNotified()) impl_->stopped.Notify();
}

absl::StatusOr<v1::Assignment> CoordinatorClient::Join(const v1::JoinRequest& request) {
  return impl_->Call(&v1::WorkerService::Stub::Join, request);
}
absl::StatusOr<v1::HeartbeatResponse> CoordinatorClient::Heartbeat(const v1::HeartbeatRequest& request) {
  return impl_->Call(&v1::WorkerService::Stub::Heartbeat, request);
}
absl::StatusOr<v1::CommitCheckpointResponse> CoordinatorClient::CommitCheckpoint(
    const v1::CommitCheckpointRequest& request) {
  return impl_->Call(&v1::WorkerService::Stub::CommitCheckpoint, request);
}
absl::Status CoordinatorClient::Finish(const v1::FinishRequest& request) {
  return impl_->Call(&v1::WorkerService::Stub::Finish, request).status();
}
absl::Status CoordinatorClient::Fail(const v1::FailRequest& request) {
  return impl_->Call(&v1::WorkerService::Stub::Fail, request).status();
}
absl::StatusOr<v1::RegisterTeacherResponse> CoordinatorClient::RegisterTeacher(
    const v1::RegisterTeacherRequest& request) {
  return impl_->Call(&v1::WorkerService::Stub::RegisterTeacher, request);
}

}  // namespace kd
