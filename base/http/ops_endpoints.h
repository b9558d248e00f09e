// What every binary serves to its operators: /metrics, /healthz and /readyz.
#ifndef KD_BASE_HTTP_OPS_ENDPOINTS_H_
#define KD_BASE_HTTP_OPS_ENDPOINTS_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "base/http/http_server.h"
#include "prometheus/collectable.h"
#include "prometheus/registry.h"

namespace kd {

// Adds to `routes`, for GET and HEAD:
//   /metrics  what `metrics` collects, in Prometheus' text format;
//   /healthz  200 as long as the process answers at all;
//   /readyz   200 when `ready` returns OK, else 503 with its message.
// `ready` is called from the server's threads.
void AddOpsEndpoints(std::shared_ptr<const prometheus::Collectable> metrics, std::function<absl::Status()> ready,
                     HttpRoutes& routes);

}  // namespace kd

#endif  // KD_BASE_HTTP_OPS_ENDPOINTS_H_
