// Where an HTTP server listens or is found.
#ifndef KD_BASE_HTTP_HTTP_ADDRESS_H_
#define KD_BASE_HTTP_HTTP_ADDRESS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct HttpAddress {
  std::string host;  // a name or an IP address, without brackets
  uint16_t port = 0;

  // "127.0.0.1:7071", "[::1]:7071".
  std::string ToString() const;
};

// Reads "HOST:PORT"; an IPv6 host stands in brackets. INVALID_ARGUMENT quotes `text` and shows a right form.
absl::StatusOr<HttpAddress> ParseHttpAddress(absl::string_view text);

// Reads "http://HOST:PORT", with or without a '/' behind. INVALID_ARGUMENT as above; also for https, which nothing here
// speaks.
absl::StatusOr<HttpAddress> ParseHttpUrl(absl::string_view url);

// True for addresses that only this machine reaches: 127.0.0.0/8, ::1 and "localhost".
bool IsLoopback(const HttpAddress& address);

// OK for a HOST:PORT that only this machine reaches. INVALID_ARGUMENT quotes `listen` after `flag`, such as "--listen".
absl::Status CheckLoopback(absl::string_view flag, absl::string_view listen);

}  // namespace kd

#endif  // KD_BASE_HTTP_HTTP_ADDRESS_H_
