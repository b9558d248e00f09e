#include "base/http/http_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace kd {

std::string HttpAddress::ToString() const {
  return absl::StrContains(host, ':') ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<HttpAddress> ParseHttpAddress(absl::string_view text) {
  const auto error = [text](absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", absl::CEscape(text.substr(0, 100)), "\": ", problem,
                                                   "; write HOST:PORT, for example 127.0.0.1:7071"));
  };
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return error("it has no port");
  absl::string_view host = text.substr(0, colon);
  const absl::string_view digits = text.substr(colon + 1);
  uint32_t port = 0;
  if (digits.empty() || digits.find_first_not_of("0123456789") != absl::string_view::npos ||
      !absl::SimpleAtoi(digits, &port) || port > 65535) {
    return error("the port must be a number from 0 to 65535");
  }
  if (absl::ConsumePrefix(&host, "[")) {
    in6_addr ignored;
    if (!absl::ConsumeSuffix(&host, "]") || inet_pton(AF_INET6, std::string(host).c_str(), &ignored) != 1) {
      return error("what stands in brackets must be an IPv6 address");
    }
  } else if (host.empty() ||
             host.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") !=
                 absl::string_view::npos) {
    return error("the host must be a name or an IP address (IPv6 in brackets)");
  }
  return HttpAddress{std::string(host), static_cast<uint16_t>(port)};
}

absl::StatusOr<HttpAddress> ParseHttpUrl(absl::string_view url) {
  absl::string_view rest = url;
  if (!absl::ConsumePrefix(&rest, "http://")) {
    return absl::InvalidArgumentError(absl::StrCat("URL \"", absl::CEscape(url.substr(0, 100)),
                                                   "\" must begin with http://, for example http://127.0.0.1:7071"));
  }
  absl::ConsumeSuffix(&rest, "/");
  const absl::StatusOr<HttpAddress> address = ParseHttpAddress(rest);
  if (!address.ok()) return Annotate(address.status(), absl::StrCat("URL \"", absl::CEscape(url.substr(0, 100)), "\""));
  return address;
}

bool IsLoopback(const HttpAddress& address) {
  if (address.host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, address.host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status CheckLoopback(absl::string_view flag, absl::string_view listen) {
  const absl::StatusOr<HttpAddress> address = ParseHttpAddress(listen);
  if (!address.ok()) return Annotate(address.status(), flag);
  if (IsLoopback(*address)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " \"", listen, "\": there is no authentication, so only this machine may reach it; use ", flag,
                   " 127.0.0.1:", address->port));
}

}  // namespace kd
