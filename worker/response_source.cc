#include "worker/response_source.h"

#include <utility>

#include "absl/time/clock.h"
#include "base/status.h"
#include "server/teacher/response_stream.h"

namespace kd {
namespace {

class InProcessSource : public ResponseSource {
 public:
  explicit InProcessSource(std::unique_ptr<TeacherModel> teacher) : teacher_(std::move(teacher)) {}

  absl::Status Start(const v1::ResponsePlan& plan, std::vector<v1::ViewRef>) override {
    plan_ = plan;
    return absl::OkStatus();
  }
  absl::StatusOr<ReceivedResponse> Next(const Frame& view) override {
    KD_ASSIGN_OR_RETURN(auto answers, teacher_->Answer({&view}, plan_));
    return ReceivedResponse{.records = std::move(answers[0])};
  }

 private:
  const std::unique_ptr<TeacherModel> teacher_;
  v1::ResponsePlan plan_;
};

class RemoteSource : public ResponseSource {
 public:
  explicit RemoteSource(RemoteSourceOptions options) : options_(std::move(options)) {}

  absl::Status Start(const v1::ResponsePlan& plan, std::vector<v1::ViewRef> views) override {
    v1::StreamResponsesRequest request = options_.request;
    *request.mutable_plan() = plan;
    for (v1::ViewRef& view : views) *request.add_views() = std::move(view);
    stream_ = std::make_unique<ResponseStream>(std::move(request), options_.address);
    return absl::OkStatus();
  }
  absl::StatusOr<ReceivedResponse> Next(const Frame&) override {
    KD_ASSIGN_OR_RETURN(StreamedResponse response, stream_->Next(absl::Now() + options_.patience));
    return ReceivedResponse{.records = std::move(response.records), .from_cache = response.from_cache};
  }

 private:
  const RemoteSourceOptions options_;
  std::unique_ptr<ResponseStream> stream_;
};

}  // namespace

std::unique_ptr<ResponseSource> NewRemoteSource(RemoteSourceOptions options) {
  return std::make_unique<RemoteSource>(std::move(options));
}

std::unique_ptr<ResponseSource> NewInProcessSource(std::unique_ptr<TeacherModel> teacher) {
  return std::make_unique<InProcessSource>(std::move(teacher));
}

}  // namespace kd
