// Raw connections, for what no well-behaved client sends. Tests only.
#ifndef KD_BASE_HTTP_HTTP_TESTING_H_
#define KD_BASE_HTTP_HTTP_TESTING_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "base/http/http_address.h"

namespace kd {

// A TCP connection to an IPv4 address.
class RawConnection {
 public:
  explicit RawConnection(const std::string& address) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const auto parsed = ParseHttpAddress(address);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(parsed->port);
    inet_pton(AF_INET, parsed->host.c_str(), &to.sin_addr);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0;
  }
  ~RawConnection() { ::close(fd_); }
  RawConnection(const RawConnection&) = delete;
  RawConnection& operator=(const RawConnection&) = delete;

  bool connected() const { return connected_; }

  // False: the other side is gone.
  bool Send(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }

  // Says that nothing more will be sent.
  void FinishSending() { ::shutdown(fd_, SHUT_WR); }

  // Everything until the other side closes.
  std::string ReadToEnd() {
    std::string received;
    char piece[4096];
    for (ssize_t n; (n = ::recv(fd_, piece, sizeof(piece), 0)) > 0;) received.append(piece, static_cast<size_t>(n));
    return received;
  }

  // Up to and including the first `end`, or everything if that never comes.
  std::string ReadUntil(absl::string_view end) {
    std::string received;
    char c;
    while (received.find(std::string(end)) == std::string::npos && ::recv(fd_, &c, 1, 0) == 1) received.push_back(c);
    return received;
  }

 private:
  const int fd_;
  bool connected_ = false;
};

// What the server at `address` answers to these bytes, until it closes.
inline std::string AnswerToRaw(const std::string& address, absl::string_view bytes) {
  RawConnection connection(address);
  connection.Send(bytes);
  connection.FinishSending();
  return connection.ReadToEnd();
}

}  // namespace kd

#endif  // KD_BASE_HTTP_HTTP_TESTING_H_
