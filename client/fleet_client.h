// The fleet as kdctl calls it: every call has a deadline, and errors say which address was asked.
#ifndef KD_CLIENT_FLEET_CLIENT_H_
#define KD_CLIENT_FLEET_CLIENT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kd/v1/coordinator.pb.h"
#include "kd/v1/teacher.pb.h"

namespace kd {

inline constexpr char kDefaultFleet[] = "127.0.0.1:7070";
// What a command gives the fleet that can do without it.
inline constexpr absl::Duration kGlance = absl::Milliseconds(300);
inline constexpr char kStartAFleet[] = "start one with kd-fleet, or name it with --address or KD_ADDRESS";

struct FleetOptions {
  // HOST:PORT of the coordinator.
  std::string address = kDefaultFleet;
  // Travels with every call as "kd-request-id", so that the fleet's log can be searched for it.
  std::string request_id;
  // Prints every call with its request id, outcome and duration on stderr.
  bool debug = false;
  // Of calls that only read.
  absl::Duration deadline = absl::Seconds(5);
};

// 32 hexadecimal digits that nobody else has.
std::string NewRequestId();

// Messages of a server, one after the other.
template <typename T>
class FleetStream {
 public:
  enum class Read { kMessage, kNothingYet, kEnd };
  virtual ~FleetStream() = default;
  // Waits for a message until `until`. An error is final.
  virtual absl::StatusOr<Read> Next(absl::Time until, T* message) = 0;
};

// Used by one thread at a time. UNAVAILABLE and DEADLINE_EXCEEDED mean that the fleet did not answer; the message names
// its address. Other codes are the coordinator's (coordinator.proto).
class FleetClient {
 public:
  explicit FleetClient(FleetOptions options);
  ~FleetClient();
  FleetClient(const FleetClient&) = delete;
  FleetClient& operator=(const FleetClient&) = delete;

  const std::string& address() const;
  const std::string& request_id() const;

  // Tries again a few times while the fleet is UNAVAILABLE: with one request id that makes one job.
  absl::StatusOr<v1::Job> Submit(const v1::Pair& pair, const std::string& request_id, bool dry_run);
  absl::StatusOr<v1::Job> GetJob(const std::string& id);
  // As many pages as `limit` jobs take; 0: the first page.
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> CancelJob(const std::string& id);
  absl::StatusOr<v1::ListEventsResponse> ListEvents(const std::string& id);
  absl::StatusOr<v1::ListTeachersResponse> ListTeachers();
  absl::StatusOr<v1::Fleet> GetFleet();

  // Both go on when the coordinator comes back within a minute after they had heard from it.
  std::unique_ptr<FleetStream<v1::Job>> Watch(const std::string& id);
  std::unique_ptr<FleetStream<v1::LogChunk>> Logs(const std::string& id, bool follow);

  // Asks the teacher at `teacher_address`.
  absl::StatusOr<v1::CacheStats> GetCacheStats(const std::string& teacher_address);

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace kd

#endif  // KD_CLIENT_FLEET_CLIENT_H_
