// The coordinator's side of a rendezvous: everything in memory, one table per generation.
#ifndef KD_SERVER_COORDINATOR_RENDEZVOUS_TABLE_H_
#define KD_SERVER_COORDINATOR_RENDEZVOUS_TABLE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/coordinator/rendezvous.h"

namespace kd {

// Of one generation.
struct RendezvousLimits {
  size_t max_keys = 16384;
  // Keys and values together.
  size_t max_bytes = 16 << 20;
};

class RendezvousTable : public Rendezvous {
 public:
  explicit RendezvousTable(const RendezvousLimits& limits = {}) : limits_(limits) {}

  // From now on keys that begin with `prefix` are taken. Idempotent.
  void Begin(const std::string& prefix);
  // Drops them; who waits for one is answered ABORTED. Does nothing for a generation that never was.
  void End(const std::string& prefix);

  absl::Status Set(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::vector<std::string>> Get(const std::vector<std::string>& keys, absl::Time deadline) override;
  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override;
  absl::StatusOr<std::string> CompareSet(const std::string& key, const std::string& expected,
                                         const std::string& desired) override;
  absl::StatusOr<bool> Check(const std::vector<std::string>& keys) override;
  absl::StatusOr<bool> Delete(const std::string& key) override;

 private:
  struct Generation {
    std::map<std::string, std::string> values;
    size_t bytes = 0;
  };
  absl::StatusOr<Generation*> Find(const std::string& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Put(Generation& generation, const std::string& key, std::string value)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::vector<std::string>> Missing(const std::vector<std::string>& keys)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const RendezvousLimits limits_;
  absl::Mutex mutex_;
  std::map<std::string, Generation> generations_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_RENDEZVOUS_TABLE_H_
