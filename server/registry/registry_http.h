// The OCI distribution API (1.1) over the registry.
#ifndef KD_SERVER_REGISTRY_REGISTRY_HTTP_H_
#define KD_SERVER_REGISTRY_REGISTRY_HTTP_H_

#include <memory>

#include "base/http/http_server.h"
#include "prometheus/registry.h"
#include "server/registry/registry.h"

namespace kd {

// Answers everything below /v2/. Both references outlive the handler and what it returns.
HttpHandler NewRegistryHandler(Registry& registry, prometheus::Registry& metrics);

}  // namespace kd

#endif  // KD_SERVER_REGISTRY_REGISTRY_HTTP_H_
