// Blocking HTTP/1.1 calls, each over a connection of its own.
#ifndef KD_BASE_HTTP_HTTP_CLIENT_H_
#define KD_BASE_HTTP_HTTP_CLIENT_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/http/http_address.h"
#include "base/http/http_message.h"

namespace kd {

struct HttpCall {
  std::string method = "GET";
  std::string target = "/";  // path and query, already escaped
  HttpHeaders headers;
  std::string body;
  std::string body_file;  // instead of `body`: this file is streamed
  // Takes the body of a 2xx answer piece by piece instead of HttpAnswer::body. Not OK ends the call with that status.
  std::function<absl::Status(absl::string_view piece)> sink;
};

struct HttpAnswer {
  int status = 0;  // of any kind: a 404 is an answer
  HttpHeaders headers;
  std::string body;
};

struct HttpClientOptions {
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration silence_timeout = absl::Seconds(60);  // a piece must move within it
  absl::Duration timeout = absl::Hours(1);             // for the whole call
  uint64_t max_body_bytes = 16 << 20;                  // of a body that goes into memory
};

// Thread-compatible.
class HttpClient {
 public:
  explicit HttpClient(HttpAddress address, HttpClientOptions options = {});

  // UNAVAILABLE: nothing answers at the address, or the connection broke off. DEADLINE_EXCEEDED: a time-out of the
  // options. RESOURCE_EXHAUSTED: a body over the limit. Each names the address. NOT_FOUND and others of errno:
  // `body_file` cannot be read.
  absl::StatusOr<HttpAnswer> Call(const HttpCall& call);

 private:
  const HttpAddress address_;
  const HttpClientOptions options_;
};

}  // namespace kd

#endif  // KD_BASE_HTTP_HTTP_CLIENT_H_
