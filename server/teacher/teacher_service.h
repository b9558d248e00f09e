// The Teacher service over an engine: translates, calls, translates.
#ifndef KD_SERVER_TEACHER_TEACHER_SERVICE_H_
#define KD_SERVER_TEACHER_TEACHER_SERVICE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "kd/v1/detector.pb.h"
#include "server/teacher/response_engine.h"

namespace kd {

struct TeacherServerOptions {
  // "127.0.0.1:0" picks a free port.
  std::string listen = "127.0.0.1:0";
  std::string digest;
  v1::Detector detector;
  bool batch_invariant = false;
  // Views of one stream that are worked on ahead of the wire, unless it asks for another number.
  uint32_t window = 16;
  // Look up, read and wait for the model, for all streams together; no stream gets more than half of them, so that one
  // whose views have to be computed holds up no other that reads from the cache.
  uint32_t threads = 64;
};

// Serves until it is destroyed. Thread-safe.
class TeacherServer {
 public:
  // `stores` are shown by GetCacheStats, named "memory" and "disk"; all references must outlive the server.
  // UNAVAILABLE: the address cannot be bound.
  static absl::StatusOr<std::unique_ptr<TeacherServer>> Start(const TeacherServerOptions& options,
                                                              ResponseEngine& engine, const ResponseStore& memory,
                                                              const ResponseStore& disk);
  ~TeacherServer();

  // "127.0.0.1:40123".
  const std::string& address() const { return address_; }

 private:
  struct Impl;
  TeacherServer(std::unique_ptr<Impl> impl, std::string address);
  const std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace kd

#endif  // KD_SERVER_TEACHER_TEACHER_SERVICE_H_
