// The RendezvousStore service over a rendezvous, for the ranks of a generation.
#ifndef KD_SERVER_COORDINATOR_RENDEZVOUS_SERVICE_H_
#define KD_SERVER_COORDINATOR_RENDEZVOUS_SERVICE_H_

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "server/coordinator/rendezvous.h"

namespace kd {

struct RendezvousServiceOptions {
  // A longer wait is answered DEADLINE_EXCEEDED early, and whoever asked asks again: no wait keeps a thread for long.
  absl::Duration longest_wait = absl::Seconds(1);
  // Further calls do not wait at all.
  int max_waits = 64;
};

// `rendezvous` outlives the service.
std::unique_ptr<grpc::Service> NewRendezvousService(Rendezvous& rendezvous,
                                                    const RendezvousServiceOptions& options = {});

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_RENDEZVOUS_SERVICE_H_
