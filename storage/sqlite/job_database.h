// Jobs, their events and the processes started for them, in one SQLite file.
#ifndef KD_STORAGE_SQLITE_JOB_DATABASE_H_
#define KD_STORAGE_SQLITE_JOB_DATABASE_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "kd/v1/coordinator.pb.h"

struct sqlite3;

namespace kd {

// A process of the fleet that outlives the coordinator which started it. `start_ticks` and `boot_id` tell it from a
// later process with the same number (server/coordinator/process.h).
struct ProcessRow {
  // "JOB/GENERATION/RANK" or "teacher/DIGEST".
  std::string name;
  int64_t pid = 0;
  uint64_t start_ticks = 0;
  std::string boot_id;
};

// Thread-safe. Exactly one connection: a second opener is refused. What a call wrote has reached the disk when it
// returns (WAL, synchronous=FULL). Errors of the disk: RESOURCE_EXHAUSTED (full), DATA_LOSS (damaged), UNAVAILABLE.
class JobDatabase {
 public:
  // Creates the file when it is missing and brings an older schema up to date. FAILED_PRECONDITION: another process has
  // it, or it was written by a newer version.
  static absl::StatusOr<std::unique_ptr<JobDatabase>> Open(const std::string& path);
  ~JobDatabase();

  // Adds a job with its first event in one transaction. ALREADY_EXISTS: its id or request id.
  absl::Status Insert(const v1::JobRecord& record, const v1::JobEvent& event);
  // Replaces a job; adds an event in the same transaction when there is one. NOT_FOUND: no such job.
  absl::Status Update(const v1::JobRecord& record, const std::optional<v1::JobEvent>& event);

  // In the order of submission.
  absl::StatusOr<std::vector<v1::JobRecord>> Unfinished();
  // Newest first; `name` empty: of every name. `before` not empty: only jobs older than this one. NOT_FOUND: no such
  // job.
  absl::StatusOr<std::vector<v1::JobRecord>> Newest(uint32_t limit, const std::string& name, const std::string& before);
  absl::StatusOr<std::optional<v1::JobRecord>> Find(const std::string& id);
  absl::StatusOr<std::optional<v1::JobRecord>> FindRequest(const std::string& request_id);
  // Number of the next job: 1 for the first.
  absl::StatusOr<uint64_t> NextNumber();
  // The last thousand, oldest first.
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& id);

  absl::Status PutProcess(const ProcessRow& process);
  absl::Status RemoveProcess(const std::string& name, int64_t pid);
  absl::StatusOr<std::vector<ProcessRow>> Processes();

 private:
  explicit JobDatabase(sqlite3* handle) : handle_(handle) {}
  absl::Status Migrate();
  absl::Status Write(const v1::JobRecord& record, const std::optional<v1::JobEvent>& event, bool is_new);
  absl::StatusOr<std::vector<v1::JobRecord>> Select(const std::string& clause,
                                                    const std::vector<std::string>& arguments);

  absl::Mutex mutex_;
  sqlite3* const handle_;
};

}  // namespace kd

#endif  // KD_STORAGE_SQLITE_JOB_DATABASE_H_
