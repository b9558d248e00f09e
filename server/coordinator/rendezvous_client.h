// How ranks reach the coordinator's rendezvous: through its restarts, up to a deadline.
#ifndef KD_SERVER_COORDINATOR_RENDEZVOUS_CLIENT_H_
#define KD_SERVER_COORDINATOR_RENDEZVOUS_CLIENT_H_

#include <memory>
#include <string>
#include <vector>

#include "server/coordinator/rendezvous.h"

namespace kd {

// A coordinator that does not answer is asked again for `patience`, or until the deadline of a Get(); then UNAVAILABLE,
// saying for how long. A coordinator that was started again has forgotten all keys. Add() is asked once only, because a
// lost answer does not tell whether it counted.
class RendezvousClient : public Rendezvous {
 public:
  // `address` is HOST:PORT.
  RendezvousClient(const std::string& address, absl::Duration patience);
  ~RendezvousClient() override;

  absl::Status Set(const std::string& key, const std::string& value) override;
  absl::StatusOr<std::vector<std::string>> Get(const std::vector<std::string>& keys, absl::Time deadline) override;
  absl::StatusOr<int64_t> Add(const std::string& key, int64_t amount) override;
  absl::StatusOr<std::string> CompareSet(const std::string& key, const std::string& expected,
                                         const std::string& desired) override;
  absl::StatusOr<bool> Check(const std::vector<std::string>& keys) override;
  absl::StatusOr<bool> Delete(const std::string& key) override;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_RENDEZVOUS_CLIENT_H_
