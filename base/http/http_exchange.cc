// The ready-made exchanges and the table of routes: what of http_server.h needs no socket.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/http/http_server.h"

namespace kd {
namespace {

class KnownAnswer : public HttpExchange {
 public:
  explicit KnownAnswer(HttpResponse response) : response_(std::move(response)) {}
  bool WantsBody() const override { return false; }
  absl::Status Write(absl::string_view) override { return absl::OkStatus(); }
  HttpResponse Finish() override { return std::move(response_); }

 private:
  HttpResponse response_;
};

class BodyCollector : public HttpExchange {
 public:
  BodyCollector(uint64_t max_bytes, HttpResponse too_large, std::function<HttpResponse(std::string)> respond)
      : max_bytes_(max_bytes), too_large_(std::move(too_large)), respond_(std::move(respond)) {}

  absl::Status Write(absl::string_view piece) override {
    if (piece.size() > max_bytes_ - body_.size()) {
      overflowed_ = true;
      return absl::ResourceExhaustedError(absl::StrCat("the body has more than ", max_bytes_, " bytes"));
    }
    body_.append(piece.data(), piece.size());
    return absl::OkStatus();
  }
  HttpResponse Finish() override { return overflowed_ ? std::move(too_large_) : respond_(std::move(body_)); }

 private:
  const uint64_t max_bytes_;
  HttpResponse too_large_;
  const std::function<HttpResponse(std::string)> respond_;
  std::string body_;
  bool overflowed_ = false;
};

}  // namespace

std::unique_ptr<HttpExchange> Answer(HttpResponse response) {
  return std::make_unique<KnownAnswer>(std::move(response));
}

std::unique_ptr<HttpExchange> CollectBody(uint64_t max_bytes, HttpResponse too_large,
                                          std::function<HttpResponse(std::string body)> respond) {
  return std::make_unique<BodyCollector>(max_bytes, std::move(too_large), std::move(respond));
}

void HttpRoutes::Add(absl::string_view path, HttpHandler handler) { handlers_[std::string(path)] = std::move(handler); }

void HttpRoutes::SetFallback(HttpHandler handler) { fallback_ = std::move(handler); }

std::unique_ptr<HttpExchange> HttpRoutes::operator()(const HttpRequest& request) const {
  const auto found = handlers_.find(request.path);
  if (found != handlers_.end()) return found->second(request);
  if (fallback_) return fallback_(request);
  return Answer(TextResponse(404, "nothing is served under this path"));
}

}  // namespace kd
