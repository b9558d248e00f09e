// Keys and values through which the ranks of one generation meet.
#ifndef KD_SERVER_COORDINATOR_RENDEZVOUS_H_
#define KD_SERVER_COORDINATOR_RENDEZVOUS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace kd {

// Thread-safe. Every key begins with the prefix of its generation, "JOB/GENERATION/" (fleet_names.h).
//
// ABORTED from any call: that generation has ended or never was, also when it ends during a wait.
// RESOURCE_EXHAUSTED: the generation holds too many keys or bytes.
class Rendezvous {
 public:
  virtual ~Rendezvous() = default;

  virtual absl::Status Set(const std::string& key, const std::string& value) = 0;
  // The values in the order of the keys, as soon as all exist. DEADLINE_EXCEEDED names the keys that are missing.
  virtual absl::StatusOr<std::vector<std::string>> Get(const std::vector<std::string>& keys, absl::Time deadline) = 0;
  // Adds to a decimal number, which counts from 0 when the key is new, and returns the sum. INVALID_ARGUMENT: the value
  // is no number.
  virtual absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) = 0;
  // Sets the key if it holds `expected`; a missing key holds "". Returns what the key now holds; a key that stays
  // missing is answered with `expected`.
  virtual absl::StatusOr<std::string> CompareSet(const std::string& key, const std::string& expected,
                                                 const std::string& desired) = 0;
  // True when all keys exist.
  virtual absl::StatusOr<bool> Check(const std::vector<std::string>& keys) = 0;
  // True when the key existed.
  virtual absl::StatusOr<bool> Delete(const std::string& key) = 0;
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_RENDEZVOUS_H_
