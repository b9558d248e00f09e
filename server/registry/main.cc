// kd-registry: keeps teachers and students, for every client of the OCI distribution API.
#include <unistd.h>

#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "base/clock.h"
#include "base/file.h"
#include "base/http/http_address.h"
#include "base/http/http_server.h"
#include "base/http/ops_endpoints.h"
#include "base/log.h"
#include "base/program.h"
#include "base/status.h"
#include "base/stop_signals.h"
#include "prometheus/registry.h"
#include "server/registry/registry.h"
#include "server/registry/registry_http.h"

namespace kd {
namespace {

struct Flags {
  std::string listen = "127.0.0.1:0", folder, address_file;
  pid_t parent = 0;
};

absl::Status Serve(const Flags& flags, const StopSignals& stop_signals) {
  KD_RETURN_IF_ERROR(CheckLoopback("--listen", flags.listen));
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Registry> registry, Registry::Open(flags.folder, Clock::Real()));
  const auto metrics = std::make_shared<prometheus::Registry>();
  const auto ready = [&flags]() -> absl::Status {
    if (::access(flags.folder.c_str(), R_OK | W_OK | X_OK) == 0) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("\"", flags.folder, "\" cannot be read and written"));
  };
  HttpRoutes routes;
  AddOpsEndpoints(metrics, ready, routes);
  routes.SetFallback(NewRegistryHandler(*registry, *metrics));
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<HttpServer> server, HttpServer::Start({.listen = flags.listen}, routes));
  if (!flags.address_file.empty()) KD_RETURN_IF_ERROR(WriteFileAtomically(flags.address_file, server->address()));
  LogInfo("serving \"", flags.folder, "\" on http://", server->address());
  stop_signals.Wait();
  LogInfo("stopping; \"", flags.folder, "\" is kept");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const StopSignals stop_signals;
  Flags flags;
  CLI::App app{"Keeps teachers and students, for every client of the OCI distribution API", "kd-registry"};
  app.add_option("--listen", flags.listen,
                 "Loopback address of the registry, /metrics, /healthz and /readyz; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--folder", flags.folder, "Folder of blobs, manifests and tags; made if missing")->required();
  app.add_option("--address-file", flags.address_file, "Write the address here once it serves");
  app.add_option("--parent", flags.parent, "Process that started this one: stop when it ends");
  return RunProgram(app, argc, argv, [&] {
    if (flags.parent != 0) StopWithParent(flags.parent);
    return Serve(flags, stop_signals);
  });
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
