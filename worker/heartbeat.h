// Keeps a worker's lease, carries its progress, and hears what changes.
#ifndef KD_WORKER_HEARTBEAT_H_
#define KD_WORKER_HEARTBEAT_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/coordinator/coordinator_client.h"

namespace kd {

// Beats about once a second from a thread of its own until it is destroyed. Thread-safe.
class Heartbeat {
 public:
  // `client` outlives it. `on_ended` is called once, from the thread, when the generation has ended or the coordinator
  // stays away.
  Heartbeat(CoordinatorClient& client, const v1::JoinRequest& self, const v1::Assignment& assignment,
            std::function<void()> on_ended);
  ~Heartbeat();

  void Report(const v1::Progress& progress);
  // Changes Progress.phase alone.
  void ReportPhase(const std::string& phase);

  // The work is done: from now on the end of the generation is no news.
  void ExpectEnd();

  // OK while the generation goes on.
  absl::Status GoesOn();
  // UNAVAILABLE while the teacher is being started.
  absl::StatusOr<std::string> TeacherAddress();

 private:
  void Run();

  CoordinatorClient& client_;
  const absl::Duration period_;
  const std::function<void()> on_ended_;
  absl::Mutex mutex_;
  v1::HeartbeatRequest request_ ABSL_GUARDED_BY(mutex_);
  std::string teacher_address_ ABSL_GUARDED_BY(mutex_);
  absl::Status end_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kd

#endif  // KD_WORKER_HEARTBEAT_H_
