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

class MisalignedSource : public ResponseSource {
 public:
  MisalignedSource(std::unique_ptr<TeacherModel> teacher, const Dataset& dataset, ViewMaker views, uint32_t view_offset)
      : aligned_(std::move(teacher)), dataset_(dataset), views_(std::move(views)), view_offset_(view_offset) {}

  absl::Status Start(const v1::ResponsePlan& plan, std::vector<v1::ViewRef> views) override {
    asked_ = std::move(views);
    return aligned_.Start(plan, {});
  }
  absl::StatusOr<ReceivedResponse> Next(const Frame&) override {
    const v1::ViewRef& asked = asked_.at(next_++);
    KD_ASSIGN_OR_RETURN(Frame frame, dataset_.Read(asked.sample()));
    KD_ASSIGN_OR_RETURN(const Frame view, views_.Make(std::move(frame), asked.view() + view_offset_));
    return aligned_.Next(view);
  }

 private:
  InProcessSource aligned_;
  const Dataset& dataset_;
  const ViewMaker views_;
  const uint32_t view_offset_;
  std::vector<v1::ViewRef> asked_;
  size_t next_ = 0;
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

std::unique_ptr<ResponseSource> NewMisalignedSource(std::unique_ptr<TeacherModel> teacher, const Dataset& dataset,
                                                    ViewMaker views, uint32_t view_offset) {
  return std::make_unique<MisalignedSource>(std::move(teacher), dataset, std::move(views), view_offset);
}

absl::StatusOr<v1::StreamResponsesRequest> ResponsesFor(const v1::Pair& pair, const std::string& job_id,
                                                        const std::string& teacher_digest, const Dataset& dataset,
                                                        const ViewMaker& views) {
  v1::StreamResponsesRequest request;
  request.set_job_id(job_id);
  request.set_teacher_digest(teacher_digest);
  *request.mutable_data() = pair.data();
  KD_ASSIGN_OR_RETURN(const std::string digest, dataset.Digest(pair.data().train_split()));
  request.set_dataset_digest(views.FilesDigest(digest));
  request.set_view_offset(pair.teacher().view_offset());
  return request;
}

}  // namespace kd
