#include "client/fleet_client.h"

#include <grpc/grpc.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <algorithm>
#include <map>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_channel.h"
#include "base/grpc_status.h"
#include "base/status.h"
#include "client/fleet_call.h"
#include "client/lasting_stream.h"
#include "kd/v1/coordinator.grpc.pb.h"
#include "kd/v1/teacher.grpc.pb.h"

namespace kd {
namespace {

// A submit reads the data set's splits and may fetch the teacher from the registry.
constexpr absl::Duration kSubmitDeadline = absl::Minutes(2);
constexpr int kSubmitTries = 4;
constexpr absl::Duration kFirstPause = absl::Milliseconds(200);

template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(Stub& stub, absl::string_view name, const FleetOptions& options, absl::Duration deadline,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                              const Request& request) {
  const absl::Time start = absl::Now();
  grpc::ClientContext context;
  Prepare(context, options, deadline);
  Response response;
  const absl::Status status = FromGrpcStatus((stub.*method)(&context, request, &response));
  PrintCall(name, options, status, start);
  if (!status.ok()) return status;
  return response;
}

}  // namespace

std::string NewRequestId() {
  std::random_device random;
  std::string id;
  for (int i = 0; i < 4; ++i) absl::StrAppend(&id, absl::Hex(random(), absl::kZeroPad8));
  return id;
}

struct FleetClient::Impl {
  explicit Impl(FleetOptions given) : options(std::move(given)) {
    if (options.request_id.empty()) options.request_id = NewRequestId();
    // Ends with the process: gRPC 1.51 may wait for its own poller when its last object goes.
    grpc_init();
    channel = NewGrpcChannel(options.address);
    jobs = v1::JobService::NewStub(channel);
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Ask(absl::string_view name,
                               grpc::Status (v1::JobService::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                            Response*),
                               const Request& request) {
    absl::StatusOr<Response> response = Call(*jobs, name, options, options.deadline, method, request);
    if (!response.ok()) return Named(response.status(), "the fleet", options.address, options.deadline);
    return response;
  }

  FleetOptions options;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::JobService::Stub> jobs;
};

FleetClient::FleetClient(FleetOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
FleetClient::~FleetClient() = default;
const std::string& FleetClient::address() const { return impl_->options.address; }
const std::string& FleetClient::request_id() const { return impl_->options.request_id; }

absl::StatusOr<v1::Job> FleetClient::Submit(const v1::Pair& pair, const std::string& request_id, bool dry_run) {
  v1::SubmitJobRequest request;
  *request.mutable_pair() = pair;
  request.set_request_id(request_id);
  request.set_dry_run(dry_run);
  absl::Duration pause = kFirstPause;
  for (int tries = 1;; ++tries, pause *= 2) {
    absl::StatusOr<v1::Job> job =
        Call(*impl_->jobs, "SubmitJob", impl_->options, kSubmitDeadline, &v1::JobService::Stub::SubmitJob, request);
    if (job.ok()) return job;
    if (!absl::IsUnavailable(job.status()) || tries == kSubmitTries) {
      return Named(job.status(), "the fleet", impl_->options.address, kSubmitDeadline);
    }
    absl::SleepFor(pause);
  }
}

absl::StatusOr<v1::Job> FleetClient::GetJob(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return impl_->Ask("GetJob", &v1::JobService::Stub::GetJob, request);
}
absl::StatusOr<v1::ListJobsResponse> FleetClient::ListJobs(const v1::ListJobsRequest& request) {
  v1::ListJobsResponse all;
  v1::ListJobsRequest next = request;
  do {
    KD_ASSIGN_OR_RETURN(v1::ListJobsResponse page, impl_->Ask("ListJobs", &v1::JobService::Stub::ListJobs, next));
    for (v1::Job& job : *page.mutable_jobs()) *all.add_jobs() = std::move(job);
    next.set_page_token(page.next_page_token());
    next.set_limit(request.limit() - std::min(request.limit(), static_cast<uint32_t>(all.jobs_size())));
    // A limit of 0 is one page.
  } while (next.limit() > 0 && !next.page_token().empty());
  return all;
}
absl::StatusOr<v1::Job> FleetClient::CancelJob(const std::string& id) {
  v1::CancelJobRequest request;
  request.set_id(id);
  return impl_->Ask("CancelJob", &v1::JobService::Stub::CancelJob, request);
}
absl::StatusOr<v1::ListEventsResponse> FleetClient::ListEvents(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return impl_->Ask("ListEvents", &v1::JobService::Stub::ListEvents, request);
}
absl::StatusOr<v1::ListTeachersResponse> FleetClient::ListTeachers() {
  return impl_->Ask("ListTeachers", &v1::JobService::Stub::ListTeachers, v1::ListTeachersRequest());
}
absl::StatusOr<v1::Fleet> FleetClient::GetFleet() {
  return impl_->Ask("GetFleet", &v1::JobService::Stub::GetFleet, v1::GetFleetRequest());
}

std::unique_ptr<FleetStream<v1::Job>> FleetClient::Watch(const std::string& id) {
  v1::GetJobRequest request;
  request.set_id(id);
  return std::make_unique<LastingStream<v1::Job>>(
      [stub = impl_->jobs.get(), request](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
        return stub->PrepareAsyncWatchJob(context, request, queue);
      },
      "WatchJob", impl_->options, [] {}, [](const v1::Job&) { return true; });
}

std::unique_ptr<FleetStream<v1::LogChunk>> FleetClient::Logs(const std::string& id, bool follow) {
  v1::StreamLogsRequest request;
  request.set_id(id);
  request.set_follow(follow);
  // Lines come from their logs' beginning each time.
  struct Counts {
    std::map<uint32_t, uint64_t> shown, sent;
  };
  const auto counts = std::make_shared<Counts>();
  return std::make_unique<LastingStream<v1::LogChunk>>(
      [stub = impl_->jobs.get(), request](grpc::ClientContext* context, grpc::CompletionQueue* queue) {
        return stub->PrepareAsyncStreamLogs(context, request, queue);
      },
      "StreamLogs", impl_->options, [counts] { counts->sent.clear(); },
      [counts](const v1::LogChunk& chunk) {
        if (++counts->sent[chunk.rank()] <= counts->shown[chunk.rank()]) return false;
        ++counts->shown[chunk.rank()];
        return true;
      });
}

absl::StatusOr<v1::CacheStats> FleetClient::GetCacheStats(const std::string& teacher_address) {
  const auto stub = v1::Teacher::NewStub(NewGrpcChannel(teacher_address));
  absl::StatusOr<v1::CacheStats> stats = Call(*stub, "GetCacheStats", impl_->options, impl_->options.deadline,
                                              &v1::Teacher::Stub::GetCacheStats, v1::GetCacheStatsRequest());
  if (!stats.ok()) return Named(stats.status(), "the teacher", teacher_address, impl_->options.deadline);
  return stats;
}

}  // namespace kd
