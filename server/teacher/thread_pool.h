// A fixed number of threads for work that blocks.
#ifndef KD_SERVER_TEACHER_THREAD_POOL_H_
#define KD_SERVER_TEACHER_THREAD_POOL_H_

#include <cstddef>
#include <deque>
#include <future>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace kd {

// Thread-safe. Work begins in the order of submission; it must not wait for work that was submitted later.
class ThreadPool {
 public:
  // `threads` is at least 1.
  explicit ThreadPool(size_t threads);
  // Runs everything that was submitted, then ends.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Never blocks. The future may be dropped; the work runs all the same.
  template <typename Work>
  std::future<std::invoke_result_t<Work&>> Submit(Work work) {
    std::packaged_task<std::invoke_result_t<Work&>()> task(std::move(work));
    auto result = task.get_future();
    Push(std::move(task));
    return result;
  }

 private:
  void Push(absl::AnyInvocable<void()> task);
  void Run();

  absl::Mutex mutex_;
  std::deque<absl::AnyInvocable<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace kd

#endif  // KD_SERVER_TEACHER_THREAD_POOL_H_
