// The connection to a coordinator that workers and teachers share the manners of.
#ifndef KD_SERVER_COORDINATOR_COORDINATOR_CHANNEL_H_
#define KD_SERVER_COORDINATOR_COORDINATOR_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

namespace kd {

// `address` is HOST:PORT. gRPC's own pause between two tries to connect grows to two minutes; this one's to a second,
// because a coordinator is back within seconds.
std::shared_ptr<grpc::Channel> NewCoordinatorChannel(const std::string& address);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_COORDINATOR_CHANNEL_H_
