// Connections to the fleet's servers, the same way everywhere.
#ifndef KD_BASE_GRPC_CHANNEL_H_
#define KD_BASE_GRPC_CHANNEL_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

namespace kd {

// `address` is HOST:PORT; nothing connects before the first call. gRPC's own pause between two tries to connect grows
// to two minutes; this one's to a second, because a server is back within seconds. Proxies of the environment are not
// used.
std::shared_ptr<grpc::Channel> NewGrpcChannel(const std::string& address);

}  // namespace kd

#endif  // KD_BASE_GRPC_CHANNEL_H_
