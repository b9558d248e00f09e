// The coordinator's rendezvous in the form in which c10d wants it.
#ifndef KD_WORKER_RENDEZVOUS_STORE_H_
#define KD_WORKER_RENDEZVOUS_STORE_H_

#include <stdexcept>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/coordinator/rendezvous.h"
#include "torch/csrc/distributed/c10d/Store.hpp"

namespace kd {

// How a status travels through c10d, which knows exceptions only.
class StatusException : public std::runtime_error {
 public:
  explicit StatusException(const absl::Status& status) : std::runtime_error(status.ToString()), status_(status) {}
  const absl::Status& status() const { return status_; }

 private:
  const absl::Status status_;
};

// Keys get `prefix`, which begins with the generation's. Waits last for `timeout` unless the caller says otherwise.
// Every failure is a StatusException that says what was asked for. `rendezvous` outlives the store and its clones.
c10::intrusive_ptr<c10d::Store> NewRendezvousStore(Rendezvous& rendezvous, const std::string& prefix,
                                                   absl::Duration timeout);

}  // namespace kd

#endif  // KD_WORKER_RENDEZVOUS_STORE_H_
