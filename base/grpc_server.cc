#include "base/grpc_server.h"

#include <grpc/grpc.h>
#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"

namespace kd {

absl::StatusOr<RunningGrpcServer> StartGrpcServer(const std::string& listen,
                                                  const std::vector<grpc::Service*>& services) {
  // Ends with the process: gRPC 1.51 may wait ten seconds for its own poller when its last object goes.
  static const bool kept = (grpc_init(), true);
  (void)kept;
  grpc::EnableDefaultHealthCheckService(true);
  int port = 0;
  grpc::ServerBuilder builder;
  // Two servers on one port would share its calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  for (grpc::Service* service : services) builder.RegisterService(service);
  RunningGrpcServer running{.server = builder.BuildAndStart()};
  if (running.server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on \"", listen, "\": the port is taken or the address is not this machine's"));
  }
  running.address = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
  return running;
}

}  // namespace kd
