// Ranks that are threads of one process. Tests only.
#ifndef KD_WORKER_FAKE_GRADIENT_SYNC_H_
#define KD_WORKER_FAKE_GRADIENT_SYNC_H_

#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "worker/gradient_sync.h"

namespace kd {

// Where the ranks put what they share.
class FakeGroup {
 public:
  explicit FakeGroup(uint32_t world_size, absl::Duration timeout = absl::Minutes(1))
      : timeout_(timeout), shared_(world_size) {}

  // What every rank has put down, when all have. DEADLINE_EXCEEDED: some have not.
  absl::StatusOr<std::vector<std::vector<torch::Tensor>>> Exchange(uint32_t rank, std::vector<torch::Tensor> tensors) {
    absl::MutexLock lock(&mutex_);
    shared_[rank] = std::move(tensors);
    const uint64_t round = round_;
    if (++arrived_ == shared_.size()) {
      result_ = shared_;
      arrived_ = 0;
      ++round_;
    }
    const auto over = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return round_ > round; };
    if (!mutex_.AwaitWithTimeout(absl::Condition(&over), timeout_)) {
      return absl::DeadlineExceededError(
          absl::StrCat("rank ", rank, ": only ", arrived_, " of ", shared_.size(), " ranks came"));
    }
    return result_;
  }
  uint32_t world_size() const { return static_cast<uint32_t>(shared_.size()); }

 private:
  const absl::Duration timeout_;
  absl::Mutex mutex_;
  std::vector<std::vector<torch::Tensor>> shared_;
  std::vector<std::vector<torch::Tensor>> result_ ABSL_GUARDED_BY(mutex_);
  size_t arrived_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t round_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Averages after the backward pass, by hand, in the order of the ranks. `group` outlives it.
class FakeGradientSync : public GradientSync {
 public:
  FakeGradientSync(FakeGroup& group, uint32_t rank) : group_(group), rank_(rank) {}

  uint32_t rank() const override { return rank_; }
  uint32_t world_size() const override { return group_.world_size(); }
  absl::Status Broadcast(const std::vector<torch::Tensor>& tensors) override {
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> own;
    for (const torch::Tensor& tensor : tensors) own.push_back(tensor.clone());
    KD_ASSIGN_OR_RETURN(const auto all, group_.Exchange(rank_, std::move(own)));
    for (size_t i = 0; i < tensors.size(); ++i) torch::Tensor(tensors[i]).copy_(all[0][i]);
    return absl::OkStatus();
  }
  absl::Status Attach(const std::vector<torch::Tensor>& parameters) override {
    parameters_ = parameters;
    return absl::OkStatus();
  }
  absl::Status Backward(const torch::Tensor& loss) override {
    loss.backward();
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> own;
    for (const torch::Tensor& parameter : parameters_) {
      own.push_back(parameter.grad().defined() ? parameter.grad().clone() : torch::Tensor());
    }
    KD_ASSIGN_OR_RETURN(const auto all, group_.Exchange(rank_, std::move(own)));
    for (size_t i = 0; i < parameters_.size(); ++i) {
      torch::Tensor mean;
      for (const std::vector<torch::Tensor>& gradients : all) {
        if (!gradients[i].defined()) continue;
        const torch::Tensor part = gradients[i] / static_cast<double>(world_size());
        mean = mean.defined() ? mean + part : part;
      }
      parameters_[i].mutable_grad() = mean;
    }
    return absl::OkStatus();
  }
  absl::Status Finish() override { return group_.Exchange(rank_, {}).status(); }

 private:
  FakeGroup& group_;
  const uint32_t rank_;
  std::vector<torch::Tensor> parameters_;
};

}  // namespace kd

#endif  // KD_WORKER_FAKE_GRADIENT_SYNC_H_
