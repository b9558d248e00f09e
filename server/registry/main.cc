// kd-registry: keeps teachers and students, for every client of the OCI distribution API.
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "base/clock.h"
#include "base/file.h"
#include "base/http/http_address.h"
#include "base/http/http_server.h"
#include "base/http/ops_endpoints.h"
#include "base/log.h"
#include "base/status.h"
#include "prometheus/registry.h"
#include "server/registry/registry.h"
#include "server/registry/registry_http.h"

namespace kd {
namespace {

struct Flags {
  std::string listen = "127.0.0.1:0", folder, address_file;
};

absl::Status Serve(const Flags& flags, const sigset_t& stop_signals) {
  KD_ASSIGN_OR_RETURN(const HttpAddress address, ParseHttpAddress(flags.listen));
  if (!IsLoopback(address)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "cannot listen on \"", flags.listen,
        "\": the registry has no authentication, so only this machine may reach it; use --listen 127.0.0.1:",
        address.port));
  }
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
  int signal = 0;
  sigwait(&stop_signals, &signal);
  LogInfo("stopping; \"", flags.folder, "\" is kept");
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  InitLog("kd-registry");
  Flags flags;
  CLI::App app{"Keeps teachers and students, for every client of the OCI distribution API"};
  app.add_option("--listen", flags.listen,
                 "Loopback address of the registry, /metrics, /healthz and /readyz; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--folder", flags.folder, "Folder of blobs, manifests and tags; made if missing")->required();
  app.add_option("--address-file", flags.address_file, "Write the address here once it serves");
  CLI11_PARSE(app, argc, argv);

  // Threads inherit the mask: only sigwait() sees these.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop_signals, nullptr);
  const absl::Status status = Serve(flags, stop_signals);
  if (status.ok()) return 0;
  LogError(status.message());
  return 1;
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
