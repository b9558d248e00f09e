#include "base/http/http_server.h"

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/http/http_address.h"
#include "base/log.h"
#include "base/status.h"
#include "boost/asio/any_io_executor.hpp"
#include "boost/asio/awaitable.hpp"
#include "boost/asio/co_spawn.hpp"
#include "boost/asio/detached.hpp"
#include "boost/asio/io_context.hpp"
#include "boost/asio/ip/tcp.hpp"
#include "boost/asio/post.hpp"
#include "boost/asio/redirect_error.hpp"
#include "boost/asio/steady_timer.hpp"
#include "boost/asio/strand.hpp"
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

constexpr size_t kPieceBytes = 256 << 10;
// Beast reads as much at once as its buffer has room for: 512 bytes unless told otherwise.
constexpr size_t kReadBytes = 128 << 10;
// A client that is told "no" midway must read the answer before its unread bytes reset the connection.
constexpr std::chrono::seconds kLinger(2);
constexpr uint64_t kLingerBytes = 64 << 20;

absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

std::chrono::nanoseconds Chrono(absl::Duration duration) { return absl::ToChronoNanoseconds(duration); }

// The answer to a request that could not be parsed; 0: the client is gone, nothing to answer.
int StatusOfReadError(const error_code& error) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow) return 431;
  if (error == http::error::body_limit) return 413;
  if (error == http::error::end_of_stream || error == http::error::partial_message) return 0;
  if (error.category() == http::make_error_code(http::error::bad_method).category()) return 400;
  return 0;
}

template <typename Message>
void SetHead(const HttpResponse& response, bool keep_alive, Message& message) {
  message.version(11);
  message.result(static_cast<unsigned>(response.status));
  message.set(http::field::server, "kdfleet");
  for (const auto& [name, value] : response.headers) message.set(name, value);
  message.keep_alive(keep_alive);
}

}  // namespace

// Everything of one connection runs on its strand. (GCC 12 copies temporaries of an awaited expression bit by bit into
// the coroutine's frame, which breaks strings: what is awaited here takes named objects only.)
class HttpConnection {
 public:
  HttpConnection(Tcp::socket socket, const HttpServerOptions& options, const HttpHandler& handler)
      : stream_(std::move(socket)), options_(options), handler_(handler) {
    error_code ignored;
    stream_.socket().set_option(Tcp::no_delay(true), ignored);
  }

  net::awaitable<void> Serve() {
    while (!leaving_ && co_await ServeOne()) {
    }
    error_code ignored;
    stream_.socket().shutdown(Tcp::socket::shutdown_both, ignored);
  }

  net::awaitable<void> Refuse() {
    const HttpRequest unread;
    const HttpResponse refusal = TextResponse(503, "too many connections; try again later");
    co_await Send(unread, refusal, false);
  }

  // Ends the connection after the request in flight, at once if there is none. Only on the strand.
  void Leave() {
    leaving_ = true;
    if (idle_) stream_.cancel();
  }

  net::any_io_executor executor() { return stream_.get_executor(); }

 private:
  using Parser = http::request_parser<http::buffer_body>;

  void RestartDeadline() { stream_.expires_after(Chrono(options_.silence_timeout)); }

  // False: the connection is over.
  net::awaitable<bool> ServeOne() {
    Parser parser;
    parser.header_limit(static_cast<uint32_t>(options_.max_header_bytes));
    parser.body_limit(options_.max_body_bytes);
    RestartDeadline();
    idle_ = true;
    error_code error;
    co_await http::async_read_header(stream_, buffer_, parser, net::redirect_error(net::use_awaitable, error));
    idle_ = false;
    if (error) {
      co_await Reject(error);
      co_return false;
    }
    HttpRequest request;
    request.method = std::string(parser.get().method_string());
    for (const auto& field : parser.get()) request.headers.Set(View(field.name_string()), View(field.value()));
    if (parser.content_length()) request.content_length = *parser.content_length();
    const absl::Status target = ParseHttpTarget(View(parser.get().target()), request);
    if (!target.ok()) {
      const HttpResponse refusal = TextResponse(400, target.message());
      co_await SendLast(refusal);
      co_return false;
    }

    std::unique_ptr<HttpExchange> exchange = handler_(request);
    if (exchange->WantsBody() && !parser.is_done()) {
      error = co_await ReadBody(parser, *exchange);
      if (error) {
        co_await Reject(error);
        co_return false;
      }
    }
    const bool keep_alive = parser.is_done() && parser.keep_alive() && !leaving_;
    const HttpResponse response = exchange->Finish();
    exchange.reset();  // What it held is free by the time the client acts on the answer.
    const bool sent = co_await Send(request, response, keep_alive);
    if (sent && !parser.is_done()) co_await Linger();
    co_return sent&& keep_alive;
  }

  // Feeds the body to the exchange, as far as that wants it.
  net::awaitable<error_code> ReadBody(Parser& parser, HttpExchange& exchange) {
    error_code error;
    if (absl::EqualsIgnoreCase(View(parser.get()[http::field::expect]), "100-continue")) {
      http::response<http::empty_body> go_on(http::status::continue_, 11);
      RestartDeadline();
      co_await http::async_write(stream_, go_on, net::redirect_error(net::use_awaitable, error));
      if (error) co_return error;
    }
    buffer_.reserve(kReadBytes);
    std::vector<char> piece(kPieceBytes);
    while (!parser.is_done()) {
      parser.get().body().data = piece.data();
      parser.get().body().size = piece.size();
      RestartDeadline();
      co_await http::async_read_some(stream_, buffer_, parser, net::redirect_error(net::use_awaitable, error));
      if (error && error != http::error::need_buffer) co_return error;
      const size_t received = piece.size() - parser.get().body().size;
      if (received > 0 && !exchange.Write({piece.data(), received}).ok()) break;
    }
    co_return error_code{};
  }

  // Answers what could not be read, if anybody is there to be answered.
  net::awaitable<void> Reject(const error_code& error) {
    const int status = StatusOfReadError(error);
    if (status == 0) co_return;
    const HttpResponse refusal = TextResponse(status, error.message());
    co_await SendLast(refusal);
  }

  net::awaitable<void> SendLast(const HttpResponse& response) {
    const HttpRequest unread;
    const bool sent = co_await Send(unread, response, false);
    if (sent) co_await Linger();
  }

  // False: the client is gone.
  net::awaitable<bool> Send(const HttpRequest& request, const HttpResponse& response, bool keep_alive) {
    if (response.file) co_return co_await SendFile(request, response, keep_alive);
    error_code error;
    RestartDeadline();
    if (request.method == "HEAD" || response.status == 204) {
      http::response<http::empty_body> message;
      SetHead(response, keep_alive, message);
      if (response.status != 204) message.content_length(response.body.size());
      co_await http::async_write(stream_, message, net::redirect_error(net::use_awaitable, error));
    } else {
      http::response<http::string_body> message;
      SetHead(response, keep_alive, message);
      message.body() = response.body;
      message.prepare_payload();
      co_await http::async_write(stream_, message, net::redirect_error(net::use_awaitable, error));
    }
    co_return !error;
  }

  net::awaitable<bool> SendFile(const HttpRequest& request, const HttpResponse& response, bool keep_alive) {
    error_code error;
    beast::file_posix file;
    file.open(response.file->path.c_str(), beast::file_mode::scan, error);
    const uint64_t total = error ? 0 : file.size(error);
    if (error) {
      LogError("cannot open \"", response.file->path, "\": ", error.message());
      const HttpResponse refusal = TextResponse(500, "the file cannot be read; see the server's log");
      co_return co_await Send(request, refusal, keep_alive);
    }
    const bool wants_body = request.method != "HEAD";
    const absl::StatusOr<ByteRange> range = SelectByteRange(wants_body ? request.headers.Get("Range") : "", total);
    if (!range.ok()) {
      HttpResponse refusal = TextResponse(416, range.status().message());
      refusal.headers.Set("Content-Range", absl::StrCat("bytes */", total));
      co_return co_await Send(request, refusal, keep_alive);
    }
    http::response<http::empty_body> message;
    SetHead(response, keep_alive, message);
    message.set(http::field::accept_ranges, "bytes");
    message.content_length(range->size);
    if (range->partial) {
      message.result(206);
      const std::string content_range =
          absl::StrCat("bytes ", range->first, "-", range->first + range->size - 1, "/", total);
      message.set(http::field::content_range, content_range);
    }
    http::response_serializer<http::empty_body> serializer(message);
    RestartDeadline();
    co_await http::async_write_header(stream_, serializer, net::redirect_error(net::use_awaitable, error));
    if (error || !wants_body) co_return !error;
    co_return co_await SendPieces(*response.file, file, *range);
  }

  net::awaitable<bool> SendPieces(const HttpFile& description, beast::file_posix& file, const ByteRange& range) {
    error_code error;
    file.seek(range.first, error);
    std::vector<char> piece(std::min<uint64_t>(kPieceBytes, std::max<uint64_t>(range.size, 1)));
    uint64_t remaining = range.size;
    if (remaining == 0 && !range.partial && description.check) co_return description.check("", 0).ok();
    while (remaining > 0 && !error) {
      const size_t size = file.read(piece.data(), std::min<uint64_t>(piece.size(), remaining), error);
      if (error || size == 0) {
        LogError("\"", description.path, "\" could not be read to its end: ", error.message());
        co_return false;
      }
      remaining -= size;
      if (!range.partial && description.check && !description.check({piece.data(), size}, remaining).ok())
        co_return false;
      RestartDeadline();
      co_await net::async_write(stream_, net::buffer(piece.data(), size),
                                net::redirect_error(net::use_awaitable, error));
    }
    co_return !error;
  }

  // Swallows what the client still sends.
  net::awaitable<void> Linger() {
    error_code error;
    stream_.socket().shutdown(Tcp::socket::shutdown_send, error);
    stream_.expires_after(kLinger);
    std::vector<char> piece(kPieceBytes);
    for (uint64_t swallowed = 0; !error && swallowed < kLingerBytes;) {
      swallowed += co_await stream_.async_read_some(net::buffer(piece), net::redirect_error(net::use_awaitable, error));
    }
  }

  beast::tcp_stream stream_;
  const HttpServerOptions& options_;
  const HttpHandler& handler_;
  beast::flat_buffer buffer_{uint64_t{1} << 20};
  bool idle_ = false;  // waiting for a head
  bool leaving_ = false;
};

class HttpServer::Impl {
 public:
  Impl(const HttpServerOptions& options, HttpHandler handler)
      : options_(options), handler_(std::move(handler)), io_(options.threads), acceptor_(net::make_strand(io_)) {}

  absl::StatusOr<std::string> Listen() {
    KD_ASSIGN_OR_RETURN(const HttpAddress address, ParseHttpAddress(options_.listen));
    error_code error;
    const net::ip::address ip = net::ip::make_address(address.host == "localhost" ? "127.0.0.1" : address.host, error);
    if (error) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot listen on \"", options_.listen,
                       "\": the host must be an IP address or localhost, for example 127.0.0.1:0"));
    }
    const Tcp::endpoint endpoint(ip, address.port);
    acceptor_.open(endpoint.protocol(), error);
    if (!error) ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
    if (!error) acceptor_.set_option(Tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
    if (error) {
      return absl::UnavailableError(absl::StrCat("cannot listen on \"", options_.listen, "\": ", error.message(),
                                                 "; stop what holds the port, or let port 0 pick a free one"));
    }
    return HttpAddress{ip.to_string(), acceptor_.local_endpoint().port()}.ToString();
  }

  void Run() {
    net::co_spawn(acceptor_.get_executor(), Accept(), net::detached);
    for (int i = 0; i < options_.threads; ++i) {
      threads_.emplace_back([this] { io_.run(); });
    }
  }

  void Stop() {
    if (threads_.empty()) return;
    net::post(acceptor_.get_executor(), [this] { CloseAcceptor(); });
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      for (const auto& connection : connections_) {
        net::post(connection->executor(), [connection] { connection->Leave(); });
      }
      const auto nobody_left = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return connections_.empty(); };
      mutex_.AwaitWithTimeout(absl::Condition(&nobody_left), options_.stop_grace);
    }
    io_.stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    CloseAcceptor();  // Its turn may not have come before the threads ended.
  }

 private:
  void CloseAcceptor() {
    error_code ignored;
    acceptor_.close(ignored);
  }

  net::awaitable<void> Accept() {
    while (acceptor_.is_open()) {
      const net::any_io_executor strand = net::make_strand(io_);
      error_code error;
      Tcp::socket socket = co_await acceptor_.async_accept(strand, net::redirect_error(net::use_awaitable, error));
      if (error) {  // Closed, or out of file descriptors, which passes.
        net::steady_timer pause(acceptor_.get_executor(), std::chrono::milliseconds(50));
        co_await pause.async_wait(net::redirect_error(net::use_awaitable, error));
        continue;
      }
      ::fcntl(socket.native_handle(), F_SETFD, FD_CLOEXEC);
      Admit(std::make_shared<HttpConnection>(std::move(socket), options_, handler_));
    }
  }

  void Admit(std::shared_ptr<HttpConnection> connection) {
    bool full;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      full = connections_.size() >= static_cast<size_t>(options_.max_connections);
      connections_.insert(connection);
    }
    net::co_spawn(connection->executor(), full ? connection->Refuse() : connection->Serve(),
                  [this, connection](std::exception_ptr failure) {
                    if (failure) LogFailure(failure);
                    absl::MutexLock lock(&mutex_);
                    connections_.erase(connection);
                  });
  }

  static void LogFailure(const std::exception_ptr& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      LogError("a connection ended in: ", error.what());
    }
  }

  const HttpServerOptions options_;
  const HttpHandler handler_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  net::io_context io_;
  Tcp::acceptor acceptor_;
  std::set<std::shared_ptr<HttpConnection>> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl, std::string address)
    : impl_(std::move(impl)), address_(std::move(address)) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const HttpServerOptions& options, HttpHandler handler) {
  auto impl = std::make_unique<Impl>(options, std::move(handler));
  KD_ASSIGN_OR_RETURN(std::string address, impl->Listen());
  impl->Run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl), std::move(address)));
}

HttpServer::~HttpServer() { Stop(); }

void HttpServer::Stop() { impl_->Stop(); }

}  // namespace kd
