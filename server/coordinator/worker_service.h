// The WorkerService over a coordinator, for workers and teachers.
#ifndef KD_SERVER_COORDINATOR_WORKER_SERVICE_H_
#define KD_SERVER_COORDINATOR_WORKER_SERVICE_H_

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "server/coordinator/coordinator.h"

namespace kd {

// `coordinator` outlives the service.
std::unique_ptr<grpc::Service> NewWorkerService(Coordinator& coordinator);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_WORKER_SERVICE_H_
