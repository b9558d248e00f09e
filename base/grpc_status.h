// The one place where gRPC's and Abseil's statuses meet. Only adapters include it.
#ifndef KD_BASE_GRPC_STATUS_H_
#define KD_BASE_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace kd {

// Messages are shortened to what fits a header.
grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

// True for a failure that the same call may overcome later (UNAVAILABLE, and RESOURCE_EXHAUSTED of a busy server).
bool IsRetryable(const absl::Status& status);

}  // namespace kd

#endif  // KD_BASE_GRPC_STATUS_H_
