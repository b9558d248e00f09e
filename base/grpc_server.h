// Starting a gRPC server, the same way everywhere.
#ifndef KD_BASE_GRPC_SERVER_H_
#define KD_BASE_GRPC_SERVER_H_

#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/server.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kd {

struct RunningGrpcServer {
  std::unique_ptr<grpc::Server> server;
  // "127.0.0.1:40123", with the port that was picked.
  std::string address;
};

// Serves `services` (which outlive the server) and grpc.health.v1 at `listen`, "HOST:PORT"; port 0 picks a free one.
// UNAVAILABLE: the address cannot be had, for example because another process has it.
absl::StatusOr<RunningGrpcServer> StartGrpcServer(const std::string& listen,
                                                  const std::vector<grpc::Service*>& services);

}  // namespace kd

#endif  // KD_BASE_GRPC_SERVER_H_
