#include "worker/response_source.h"

#include <utility>

#include "base/status.h"

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

}  // namespace

std::unique_ptr<ResponseSource> NewInProcessSource(std::unique_ptr<TeacherModel> teacher) {
  return std::make_unique<InProcessSource>(std::move(teacher));
}

}  // namespace kd
