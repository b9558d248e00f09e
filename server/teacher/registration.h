// A teacher's standing with the coordinator that started it.
#ifndef KD_SERVER_TEACHER_REGISTRATION_H_
#define KD_SERVER_TEACHER_REGISTRATION_H_

#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/coordinator/coordinator_client.h"

namespace kd {

// Calls RegisterTeacher from a thread of its own, several times within every lease. Thread-safe.
class TeacherRegistration {
 public:
  // `on_dismissed` is called once, from that thread, when the coordinator does not want this process any more or has
  // been gone for ten minutes; with the reason.
  TeacherRegistration(const std::string& coordinator, const std::string& digest,
                      std::function<void(const std::string&)> on_dismissed);
  ~TeacherRegistration();

  // The weights are loaded and answers are served at `address`; metrics_url may be empty.
  void SetReady(const std::string& address, const std::string& metrics_url);
  // Tells the coordinator why this teacher cannot serve; returns when it knows.
  void Refuse(const std::string& reason);

 private:
  void Run();

  CoordinatorClient client_;
  const std::function<void(const std::string&)> on_dismissed_;
  absl::Mutex mutex_;
  v1::RegisterTeacherRequest request_ ABSL_GUARDED_BY(mutex_);
  bool changed_ ABSL_GUARDED_BY(mutex_) = false;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace kd

#endif  // KD_SERVER_TEACHER_REGISTRATION_H_
