// Requests and responses, as handlers and callers see them.
#ifndef KD_BASE_HTTP_HTTP_MESSAGE_H_
#define KD_BASE_HTTP_HTTP_MESSAGE_H_

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// Header fields in order; names compare without regard to case.
class HttpHeaders {
 public:
  HttpHeaders() = default;
  HttpHeaders(std::initializer_list<std::pair<std::string, std::string>> fields) : fields_(fields) {}

  // Replaces the field of that name, or adds it.
  void Set(absl::string_view name, absl::string_view value);
  // The field's value; empty if it is absent.
  absl::string_view Get(absl::string_view name) const;

  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

struct HttpRequest {
  std::string method;                        // "GET"
  std::string path;                          // percent-decoded, begins with '/'
  std::map<std::string, std::string> query;  // percent-decoded; the first of equal names counts
  HttpHeaders headers;
  std::optional<uint64_t> content_length;  // absent: no body, or one of unknown length
};

// A file as body: the server streams it and answers Range requests.
struct HttpFile {
  std::string path;
  // Sees every piece of a whole file before it is sent, with the number of bytes behind it; parts of a file are not
  // shown. Not OK: the piece is withheld and the connection dropped, so that the client can't take it for complete.
  std::function<absl::Status(absl::string_view piece, uint64_t remaining_bytes)> check;
};

struct HttpResponse {
  int status = 200;
  HttpHeaders headers;  // Content-Length is the server's
  std::string body;
  std::optional<HttpFile> file;  // instead of `body`
};

// A response of one line of text.
HttpResponse TextResponse(int status, absl::string_view text);

// Reads a request's target, "/path?name=value&...". INVALID_ARGUMENT: no leading '/', a broken escape, or a zero byte.
absl::Status ParseHttpTarget(absl::string_view target, HttpRequest& request);

// `text` with everything but letters, digits and "-._~" escaped as %XX.
std::string PercentEncode(absl::string_view text);

struct ByteRange {
  uint64_t first = 0;
  uint64_t size = 0;
  bool partial = false;  // answer 206, not 200
};

// The part of `total` bytes that a Range header asks for. All of it when the header is empty, malformed, in another
// unit or names several ranges (RFC 9110 lets a server ignore those). OUT_OF_RANGE: nothing of it exists.
absl::StatusOr<ByteRange> SelectByteRange(absl::string_view range_header, uint64_t total);

}  // namespace kd

#endif  // KD_BASE_HTTP_HTTP_MESSAGE_H_
