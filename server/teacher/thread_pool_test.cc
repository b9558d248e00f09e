#include "server/teacher/thread_pool.h"

#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

TEST(ThreadPoolTest, TheFutureHoldsWhatTheWorkReturned) {
  ThreadPool pool(2);
  EXPECT_EQ(pool.Submit([] { return 42; }).get(), 42);
}

TEST(ThreadPoolTest, AsManyPiecesRunAtOnceAsThereAreThreads) {
  ThreadPool pool(3);
  absl::Mutex mutex;
  std::set<std::thread::id> threads;
  // Only three threads together get past this.
  auto* barrier = new absl::Barrier(3);
  std::vector<std::future<void>> done;
  for (int i = 0; i < 3; ++i) {
    done.push_back(pool.Submit([&] {
      if (barrier->Block()) delete barrier;
      absl::MutexLock lock(&mutex);
      threads.insert(std::this_thread::get_id());
    }));
  }
  for (std::future<void>& each : done) each.wait();
  EXPECT_EQ(threads.size(), 3u);
}

TEST(ThreadPoolTest, WorkBeginsInTheOrderOfSubmission) {
  std::vector<int> order;
  {
    ThreadPool pool(1);
    for (int i = 0; i < 10; ++i) pool.Submit([&order, i] { order.push_back(i); });
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(ThreadPoolTest, WhatWaitsWhenItEndsStillRuns) {
  std::atomic<int> ran = 0;
  absl::Notification go;
  std::future<int> last;
  {
    ThreadPool pool(2);
    for (int i = 0; i < 2; ++i) pool.Submit([&] { go.WaitForNotification(); });
    for (int i = 0; i < 20; ++i) last = pool.Submit([&ran] { return ++ran; });
    EXPECT_EQ(ran, 0);
    go.Notify();
  }
  EXPECT_EQ(ran, 20);
  EXPECT_GE(last.get(), 1);
}

}  // namespace
}  // namespace kd
