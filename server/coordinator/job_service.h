// The JobService over a coordinator, for people and their tools.
#ifndef KD_SERVER_COORDINATOR_JOB_SERVICE_H_
#define KD_SERVER_COORDINATOR_JOB_SERVICE_H_

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "server/coordinator/coordinator.h"

namespace kd {

// `coordinator` outlives the service. Watchers and followers of logs hold a thread each: beyond 64 of them,
// RESOURCE_EXHAUSTED.
std::unique_ptr<grpc::Service> NewJobService(Coordinator& coordinator);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_JOB_SERVICE_H_
