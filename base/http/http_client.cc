#include "base/http/http_client.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/use_awaitable.hpp"
#include "boost/asio/write.hpp"
#include "boost/beast/core/file_posix.hpp"
#include "boost/beast/core/flat_buffer.hpp"
#include "boost/beast/core/tcp_stream.hpp"
#include "boost/beast/http.hpp"

namespace kd {
namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using Tcp = net::ip::tcp;
using boost::system::error_code;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr size_t kPieceBytes = 256 << 10;
// Beast reads as much at once as its buffer has room for: 512 bytes unless told otherwise.
constexpr size_t kReadBytes = 128 << 10;
constexpr uint32_t kMaxHeaderBytes = 64 << 10;

class Exchange {
 public:
  Exchange(net::io_context& io, const HttpAddress& address, const HttpClientOptions& options, const HttpCall& call)
      : address_(address), options_(options), call_(call), resolver_(io), stream_(io) {}

  net::awaitable<absl::StatusOr<HttpAnswer>> Run() {
    absl::Status status = OpenBodyFile();
    if (status.ok()) status = co_await Connect();
    if (!status.ok()) co_return status;
    // A server that refuses midway closes its side while we still write: its answer is worth more than our error.
    const absl::Status sent = co_await SendRequest();
    if (sent.code() == absl::StatusCode::kDeadlineExceeded || sent.code() == absl::StatusCode::kDataLoss)
      co_return sent;
    absl::StatusOr<HttpAnswer> answer = co_await ReadAnswer();
    if (!sent.ok() && absl::IsUnavailable(answer.status())) co_return sent;
    co_return answer;
  }

 private:
  std::string Url() const { return absl::StrCat("http://", address_.ToString()); }

  absl::Status Failure(absl::string_view action, const error_code& error) const {
    if (error == beast::error::timeout) {
      return absl::DeadlineExceededError(
          absl::StrCat(Url(), " did not answer in time while ", action, "; try again, or look at its log"));
    }
    return absl::UnavailableError(
        absl::StrCat(Url(), ": ", error.message(), " while ", action, "; try again, or look at its log"));
  }

  void RestartDeadline() {
    const TimePoint silence = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(options_.silence_timeout);
    stream_.expires_at(std::min(silence, deadline_));
  }

  absl::Status OpenBodyFile() {
    body_bytes_ = call_.body.size();
    if (call_.body_file.empty()) return absl::OkStatus();
    error_code error;
    body_file_.open(call_.body_file.c_str(), beast::file_mode::scan, error);
    if (!error) body_bytes_ = body_file_.size(error);
    if (error) return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot open \"", call_.body_file, "\""));
    return absl::OkStatus();
  }

  net::awaitable<absl::Status> Connect() {
    error_code error;
    const std::string port = absl::StrCat(address_.port);
    const Tcp::resolver::results_type endpoints =
        co_await resolver_.async_resolve(address_.host, port, net::redirect_error(net::use_awaitable, error));
    if (!error) {
      stream_.expires_at(
          std::min(std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(options_.connect_timeout), deadline_));
      co_await stream_.async_connect(endpoints, net::redirect_error(net::use_awaitable, error));
    }
    if (error) {
      co_return absl::UnavailableError(
          absl::StrCat("cannot reach ", Url(), ": ", error.message(), "; check the address and that the server runs"));
    }
    stream_.socket().set_option(Tcp::no_delay(true), error);
    co_return absl::OkStatus();
  }

  net::awaitable<absl::Status> SendRequest() {
    http::request<http::empty_body> head;
    head.version(11);
    head.method_string(call_.method);
    head.target(call_.target);
    head.set(http::field::host, address_.ToString());
    head.set(http::field::user_agent, "kdfleet");
    for (const auto& [name, value] : call_.headers) head.set(name, value);
    head.keep_alive(false);
    if (call_.method != "GET" && call_.method != "HEAD") head.content_length(body_bytes_);
    http::request_serializer<http::empty_body> serializer(head);
    error_code error;
    RestartDeadline();
    co_await http::async_write_header(stream_, serializer, net::redirect_error(net::use_awaitable, error));
    if (!error && !body_file_.is_open() && !call_.body.empty()) {
      co_await net::async_write(stream_, net::buffer(call_.body), net::redirect_error(net::use_awaitable, error));
    }
    std::vector<char> piece(body_file_.is_open() ? kPieceBytes : 0);
    for (uint64_t remaining = body_file_.is_open() ? body_bytes_ : 0; remaining > 0 && !error;) {
      error_code file_error;
      const size_t size = body_file_.read(piece.data(), std::min<uint64_t>(piece.size(), remaining), file_error);
      if (file_error || size == 0) {
        co_return absl::DataLossError(
            absl::StrCat("\"", call_.body_file, "\" changed or became unreadable while it was sent; send it again"));
      }
      RestartDeadline();
      co_await net::async_write(stream_, net::buffer(piece.data(), size),
                                net::redirect_error(net::use_awaitable, error));
      remaining -= size;
    }
    co_return error ? Failure("sending a request", error) : absl::OkStatus();
  }

  net::awaitable<absl::StatusOr<HttpAnswer>> ReadAnswer() {
    http::response_parser<http::buffer_body> parser;
    parser.header_limit(kMaxHeaderBytes);
    parser.body_limit(boost::none);
    parser.skip(call_.method == "HEAD");
    beast::flat_buffer buffer(uint64_t{1} << 20);
    buffer.reserve(kReadBytes);
    error_code error;
    RestartDeadline();
    co_await http::async_read_header(stream_, buffer, parser, net::redirect_error(net::use_awaitable, error));
    if (error) co_return Failure("waiting for its answer", error);

    HttpAnswer answer;
    answer.status = parser.get().result_int();
    for (const auto& field : parser.get()) {
      const auto name = field.name_string(), value = field.value();
      answer.headers.Set({name.data(), name.size()}, {value.data(), value.size()});
    }
    const bool to_sink = call_.sink && answer.status / 100 == 2;
    std::vector<char> piece(parser.is_done() ? 0 : kPieceBytes);
    uint64_t received = 0;
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      RestartDeadline();
      co_await http::async_read_some(stream_, buffer, parser, net::redirect_error(net::use_awaitable, error));
      if (error && error != http::error::need_buffer) {
        co_return Failure(absl::StrCat("reading its answer, of which ", received, " bytes arrived"), error);
      }
      const absl::string_view bytes(piece.data(), piece.size() - parser.get().body().size);
      received += bytes.size();
      if (to_sink) {
        const absl::Status taken = call_.sink(bytes);
        if (!taken.ok()) co_return taken;
      } else if (received > options_.max_body_bytes) {
        co_return absl::ResourceExhaustedError(
            absl::StrCat(Url(), call_.target, " answers with more than ", options_.max_body_bytes, " bytes"));
      } else {
        answer.body.append(bytes.data(), bytes.size());
      }
    }
    co_return answer;
  }

  const HttpAddress& address_;
  const HttpClientOptions& options_;
  const HttpCall& call_;
  const TimePoint deadline_ = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(options_.timeout);
  Tcp::resolver resolver_;
  beast::tcp_stream stream_;
  beast::file_posix body_file_;
  uint64_t body_bytes_ = 0;
};

}  // namespace

HttpClient::HttpClient(HttpAddress address, HttpClientOptions options)
    : address_(std::move(address)), options_(std::move(options)) {}

absl::StatusOr<HttpAnswer> HttpClient::Call(const HttpCall& call) {
  net::io_context io(1);
  Exchange exchange(io, address_, options_, call);
  absl::StatusOr<HttpAnswer> result;
  net::co_spawn(io, exchange.Run(), [&](std::exception_ptr failure, absl::StatusOr<HttpAnswer> answer) {
    if (failure) std::rethrow_exception(failure);
    result = std::move(answer);
  });
  io.run();
  return result;
}

}  // namespace kd
