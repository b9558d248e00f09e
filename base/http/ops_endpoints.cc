#include "base/http/ops_endpoints.h"

#include <string>
#include <utility>

#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"

namespace kd {
namespace {

HttpHandler OnlyReads(std::function<HttpResponse()> respond) {
  return [respond = std::move(respond)](const HttpRequest& request) {
    if (request.method == "GET" || request.method == "HEAD") return Answer(respond());
    HttpResponse refusal = TextResponse(405, "only GET and HEAD are served here");
    refusal.headers.Set("Allow", "GET, HEAD");
    return Answer(std::move(refusal));
  };
}

}  // namespace

void AddOpsEndpoints(std::shared_ptr<const prometheus::Collectable> metrics, std::function<absl::Status()> ready,
                     HttpRoutes& routes) {
  routes.Add("/metrics", OnlyReads([metrics = std::move(metrics)] {
               return HttpResponse{.headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}},
                                   .body = prometheus::TextSerializer().Serialize(metrics->Collect())};
             }));
  routes.Add("/healthz", OnlyReads([] { return TextResponse(200, "ok"); }));
  routes.Add("/readyz", OnlyReads([ready = std::move(ready)] {
               const absl::Status status = ready();
               return status.ok() ? TextResponse(200, "ok") : TextResponse(503, status.message());
             }));
}

}  // namespace kd
