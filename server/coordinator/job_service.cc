#include "server/coordinator/job_service.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "base/log.h"
#include "base/status.h"
#include "core/job_state.h"
#include "kd/v1/coordinator.grpc.pb.h"

namespace kd {
namespace {

// Every one holds a thread.
constexpr int kMaxWatchers = 64, kMaxLogReaders = 64;
// How long a stream may not notice that its client has gone.
constexpr absl::Duration kNotice = absl::Seconds(1);
constexpr absl::Duration kLogPoll = absl::Milliseconds(250);
constexpr size_t kMaxLine = 64 << 10;

constexpr size_t kMaxRequestId = 128;

// One call of a client, for the log: the request id that `kdctl --debug` prints is found there again.
class LoggedCall {
 public:
  // `subject` is what the caller names, such as a job's id.
  LoggedCall(const grpc::ServerContext& context, absl::string_view method, absl::string_view subject)
      : text_(absl::StrCat(method, subject.empty() ? "" : " ",
                           absl::Utf8SafeCHexEscape(subject.substr(0, kMaxRequestId)))) {
    const auto id = context.client_metadata().find("kd-request-id");
    if (id == context.client_metadata().end()) return;
    const absl::string_view given(id->second.data(), std::min(id->second.size(), kMaxRequestId));
    absl::StrAppend(&text_, " (request ", absl::CHexEscape(given), ")");
  }

  // A call that only reads is logged when it failed; a reader that left did not.
  grpc::Status Read(const absl::Status& status) const {
    if (!status.ok() && !absl::IsCancelled(status)) LogFailure(status);
    return ToGrpcStatus(status);
  }
  grpc::Status Change(const absl::Status& status) const {
    if (status.ok()) {
      LogInfo(text_, ": OK");
    } else {
      LogFailure(status);
    }
    return ToGrpcStatus(status);
  }

 private:
  void LogFailure(const absl::Status& status) const {
    LogWarning(text_, ": ", absl::StatusCodeToString(status.code()), ": ", status.message());
  }

  std::string text_;
};

// A log that may still grow.
class LogTail {
 public:
  explicit LogTail(std::string path) : path_(std::move(path)) {}

  // The next whole line; with `at_end` also a last one without its end.
  bool Next(bool at_end, std::string* line) {
    if (!file_.is_open()) {
      file_.open(path_, std::ios::binary);
      if (!file_.is_open()) return false;
    }
    file_.clear();
    for (char c; file_.get(c);) {
      if (c == '\n' || pending_.size() >= kMaxLine) {
        *line = std::exchange(pending_, "");
        if (c != '\n') pending_.push_back(c);
        return true;
      }
      pending_.push_back(c);
    }
    if (!at_end || pending_.empty()) return false;
    *line = std::exchange(pending_, "");
    return true;
  }

 private:
  const std::string path_;
  std::ifstream file_;
  std::string pending_;
};

class JobServiceImpl : public v1::JobService::Service {
 public:
  explicit JobServiceImpl(Coordinator& coordinator) : coordinator_(coordinator) {}

  grpc::Status SubmitJob(grpc::ServerContext* context, const v1::SubmitJobRequest* request, v1::Job* job) override {
    const absl::Status status = Take(coordinator_.Submit(*request), job);
    const LoggedCall call(*context, "SubmitJob", job->id().empty() ? request->pair().metadata().name() : job->id());
    return request->dry_run() ? call.Read(status) : call.Change(status);
  }
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request, v1::Job* job) override {
    return LoggedCall(*context, "GetJob", request->id()).Read(Take(coordinator_.Get(request->id()), job));
  }
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override {
    return LoggedCall(*context, "ListJobs", request->name()).Read(Take(coordinator_.List(*request), response));
  }
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request, v1::Job* job) override {
    return LoggedCall(*context, "CancelJob", request->id()).Change(Take(coordinator_.Cancel(request->id()), job));
  }
  grpc::Status ListEvents(grpc::ServerContext* context, const v1::GetJobRequest* request,
                          v1::ListEventsResponse* response) override {
    absl::StatusOr<std::vector<v1::JobEvent>> events = coordinator_.Events(request->id());
    if (events.ok()) {
      for (v1::JobEvent& event : *events) *response->add_events() = std::move(event);
    }
    return LoggedCall(*context, "ListEvents", request->id()).Read(events.status());
  }
  grpc::Status ListTeachers(grpc::ServerContext*, const v1::ListTeachersRequest*,
                            v1::ListTeachersResponse* response) override {
    for (v1::TeacherReplica& replica : coordinator_.Teachers()) *response->add_teachers() = std::move(replica);
    return grpc::Status::OK;
  }
  grpc::Status GetFleet(grpc::ServerContext*, const v1::GetFleetRequest*, v1::Fleet* fleet) override {
    *fleet = coordinator_.Fleet();
    return grpc::Status::OK;
  }

  grpc::Status WatchJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                        grpc::ServerWriter<v1::Job>* writer) override {
    return LoggedCall(*context, "WatchJob", request->id()).Read(Serve(watchers_, kMaxWatchers, "watchers", [&] {
      return Watch(*context, request->id(), *writer);
    }));
  }
  grpc::Status StreamLogs(grpc::ServerContext* context, const v1::StreamLogsRequest* request,
                          grpc::ServerWriter<v1::LogChunk>* writer) override {
    return LoggedCall(*context, "StreamLogs", request->id())
        .Read(Serve(log_readers_, kMaxLogReaders, "readers of logs",
                    [&] { return SendLogs(*context, *request, *writer); }));
  }

 private:
  template <typename Body>
  static absl::Status Serve(std::atomic<int>& served, int most, absl::string_view who, const Body& body) {
    const auto leave = absl::MakeCleanup([&served] { --served; });
    if (++served > most) {
      return absl::ResourceExhaustedError(
          absl::StrCat(most, " ", who, " are being served; try again when one has left"));
    }
    return body();
  }

  absl::Status Watch(const grpc::ServerContext& context, const std::string& id, grpc::ServerWriter<v1::Job>& writer) {
    uint64_t seen = 0;
    while (!context.IsCancelled()) {
      const absl::StatusOr<Coordinator::Sighting> sighting = coordinator_.Watch(id, seen, absl::Now() + kNotice);
      if (!sighting.ok()) return sighting.status();
      const bool ended = IsFinal(sighting->job.state());
      if (sighting->version != seen || ended) {
        if (!writer.Write(sighting->job)) break;
      }
      if (ended) return absl::OkStatus();
      seen = sighting->version;
    }
    return absl::CancelledError("the watcher or the coordinator left");
  }

  absl::Status SendLogs(const grpc::ServerContext& context, const v1::StreamLogsRequest& request,
                        grpc::ServerWriter<v1::LogChunk>& writer) {
    const absl::StatusOr<std::vector<std::string>> paths = coordinator_.LogPaths(request.id());
    if (!paths.ok()) return paths.status();
    std::vector<LogTail> tails(paths->begin(), paths->end());
    while (!context.IsCancelled()) {
      // Asked before the logs are read: what was written until the end is then sent.
      const absl::StatusOr<v1::Job> job = coordinator_.Get(request.id());
      if (!job.ok()) return job.status();
      const bool last = !request.follow() || IsFinal(job->state());
      for (uint32_t rank = 0; rank < tails.size(); ++rank) {
        v1::LogChunk chunk;
        chunk.set_rank(rank);
        while (!context.IsCancelled() && tails[rank].Next(last, chunk.mutable_line())) {
          if (!writer.Write(chunk)) return absl::CancelledError("the reader left");
        }
      }
      if (last) return absl::OkStatus();
      absl::SleepFor(kLogPoll);
    }
    return absl::CancelledError("the reader or the coordinator left");
  }

  Coordinator& coordinator_;
  std::atomic<int> watchers_ = 0, log_readers_ = 0;
};

}  // namespace

std::unique_ptr<grpc::Service> NewJobService(Coordinator& coordinator) {
  return std::make_unique<JobServiceImpl>(coordinator);
}

}  // namespace kd
