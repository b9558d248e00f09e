#include "base/visit_in_parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace kd {
namespace {

// The failure of the smallest step.
class FirstFailure {
 public:
  void Add(size_t step, const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    if (!status_.ok() && step_ < step) return;
    step_ = step;
    status_ = status;
  }
  absl::Status status() const ABSL_LOCKS_EXCLUDED(mutex_) {
    const absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  mutable absl::Mutex mutex_;
  size_t step_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::Status VisitInParallel(size_t first, size_t count, size_t threads,
                             const std::function<absl::Status(size_t, size_t)>& visit) {
  std::atomic<size_t> next = first;
  std::atomic<bool> stopped = false;
  FirstFailure failure;
  const auto work = [&](size_t thread) {
    while (!stopped) {
      const size_t i = next++;
      if (i >= count) return;
      const absl::Status status = visit(thread, i);
      if (status.ok()) continue;
      failure.Add(i, status);
      stopped = true;
    }
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < std::min(threads, count - std::min(first, count)); ++i) others.emplace_back(work, i);
  work(0);
  for (std::thread& thread : others) thread.join();
  return failure.status();
}

}  // namespace kd
