// An HTTP/1.1 server: a few threads, any number of slow clients.
#ifndef KD_BASE_HTTP_HTTP_SERVER_H_
#define KD_BASE_HTTP_HTTP_SERVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/http/http_message.h"

namespace kd {

// One request being answered. Its calls come one after another, though from several threads; they may block on a disk.
// It is destroyed before its answer is sent; without Finish() when the client leaves before the end of its body.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  // False when the answer is known already: the body is not read, Finish() is called at once.
  virtual bool WantsBody() const { return true; }
  // Takes the next piece of the body. Not OK: the rest is not read; Finish() is called and answers with the reason.
  virtual absl::Status Write(absl::string_view piece) = 0;
  virtual HttpResponse Finish() = 0;
};

// Called with the head of each request, from several threads at once.
using HttpHandler = std::function<std::unique_ptr<HttpExchange>(const HttpRequest& request)>;

// Answers at once, whatever the body.
std::unique_ptr<HttpExchange> Answer(HttpResponse response);

// Collects a body of at most `max_bytes`, then calls `respond` with it. A larger one is answered by `too_large`.
std::unique_ptr<HttpExchange> CollectBody(uint64_t max_bytes, HttpResponse too_large,
                                          std::function<HttpResponse(std::string body)> respond);

// Handlers by exact path; what has none goes to the fallback, or is answered with 404.
class HttpRoutes {
 public:
  void Add(absl::string_view path, HttpHandler handler);
  void SetFallback(HttpHandler handler);
  std::unique_ptr<HttpExchange> operator()(const HttpRequest& request) const;

 private:
  std::map<std::string, HttpHandler> handlers_;
  HttpHandler fallback_;
};

struct HttpServerOptions {
  std::string listen = "127.0.0.1:0";  // HOST:PORT, HOST an IP address or localhost; port 0 picks a free one
  int threads = 4;
  int max_connections = 512;                           // more are told 503
  uint64_t max_header_bytes = 16 << 10;                // more is answered with 431
  uint64_t max_body_bytes = uint64_t{256} << 30;       // more is answered with 413
  absl::Duration silence_timeout = absl::Seconds(30);  // a head must be complete, a piece must move within it
  absl::Duration stop_grace = absl::Seconds(5);        // what Stop() gives requests in flight
};

// Thread-safe.
class HttpServer {
 public:
  // Serves from the moment of return. INVALID_ARGUMENT: `listen` is malformed. UNAVAILABLE: it cannot be bound.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const HttpServerOptions& options, HttpHandler handler);
  ~HttpServer();  // Stop()
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // "127.0.0.1:41234".
  const std::string& address() const { return address_; }

  // Accepts no more requests, awaits those in flight for the grace period, drops the rest.
  void Stop();

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl, std::string address);

  std::unique_ptr<Impl> impl_;
  const std::string address_;
};

}  // namespace kd

#endif  // KD_BASE_HTTP_HTTP_SERVER_H_
