// Server and client together, and the server against clients that misbehave.
#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "base/file.h"
#include "base/hostile_input.h"
#include "base/http/http_client.h"
#include "base/http/http_server.h"
#include "base/http/http_testing.h"
#include "base/http/ops_endpoints.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "prometheus/counter.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// Answers every body with itself.
std::unique_ptr<HttpExchange> Echo(const HttpRequest& request) {
  return CollectBody(8 << 20, TextResponse(413, "too large"),
                     [](std::string body) { return HttpResponse{.body = std::move(body)}; });
}

class HttpTest : public ::testing::Test {
 protected:
  void Serve(HttpHandler handler, HttpServerOptions options = {}) {
    auto server = HttpServer::Start(options, std::move(handler));
    ASSERT_THAT(server, IsOk());
    server_ = *std::move(server);
  }
  absl::StatusOr<HttpAnswer> Call(const HttpCall& call, HttpClientOptions options = {}) {
    return HttpClient(*ParseHttpAddress(server_->address()), options).Call(call);
  }
  std::string Raw(const std::string& bytes) { return AnswerToRaw(server_->address(), bytes); }
  // Nothing that came before has hurt the server.
  void ExpectItStillServes() {
    const auto answer = Call({.method = "POST", .body = "still there"});
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->body, "still there");
  }

  const TemporaryFolder folder_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTest, BodiesOfAnySizeArriveWhole) {
  Serve(Echo);
  for (const size_t size : {size_t{0}, size_t{1}, size_t{256} << 10, (size_t{3} << 20) + 1}) {
    const std::string body(size, 'x');
    const auto answer = Call({.method = "PUT", .body = body});
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->status, 200);
    EXPECT_EQ(answer->body, body);
  }
}

TEST_F(HttpTest, TheHandlerSeesMethodPathQueryAndHeaders) {
  Serve([](const HttpRequest& request) {
    return Answer({.status = 202,
                   .headers = {{"X-Seen", absl::StrCat(request.method, " ", request.path, " ", request.query.at("a"),
                                                       " ", std::string(request.headers.Get("x-sent")))}}});
  });
  const auto answer = Call({.method = "PATCH", .target = "/p%20q?a=b", .headers = {{"X-Sent", "hello"}}});
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->status, 202);
  EXPECT_EQ(answer->headers.Get("X-Seen"), "PATCH /p q b hello");
}

TEST_F(HttpTest, FilesStreamUpAndDown) {
  const std::string content(1234567, 'y');
  ASSERT_THAT(WriteFileAtomically(folder_ / "up", content), IsOk());
  Serve(Echo);
  std::string received;
  const auto answer = Call({.method = "PUT", .body_file = folder_ / "up", .sink = [&](absl::string_view piece) {
                              received.append(piece.data(), piece.size());
                              return absl::OkStatus();
                            }});
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->body, "");
  EXPECT_EQ(received, content);
}

TEST_F(HttpTest, AFileIsServedWholeInPartsAndWithoutBody) {
  ASSERT_THAT(WriteFileAtomically(folder_ / "down", "0123456789"), IsOk());
  Serve([this](const HttpRequest&) { return Answer({.file = HttpFile{.path = folder_ / "down"}}); });
  const auto whole = Call({});
  ASSERT_THAT(whole, IsOk());
  EXPECT_EQ(whole->status, 200);
  EXPECT_EQ(whole->body, "0123456789");
  const auto part = Call({.headers = {{"Range", "bytes=2-4"}}});
  ASSERT_THAT(part, IsOk());
  EXPECT_EQ(part->status, 206);
  EXPECT_EQ(part->body, "234");
  EXPECT_EQ(part->headers.Get("Content-Range"), "bytes 2-4/10");
  const auto beyond = Call({.headers = {{"Range", "bytes=10-"}}});
  ASSERT_THAT(beyond, IsOk());
  EXPECT_EQ(beyond->status, 416);
  EXPECT_EQ(beyond->headers.Get("Content-Range"), "bytes */10");
  const auto head = Call({.method = "HEAD"});
  ASSERT_THAT(head, IsOk());
  EXPECT_EQ(head->headers.Get("Content-Length"), "10");
  EXPECT_EQ(head->body, "");
}

TEST_F(HttpTest, AnEmptyFileIsServed) {
  ASSERT_THAT(WriteFileAtomically(folder_ / "empty", ""), IsOk());
  Serve([this](const HttpRequest&) { return Answer({.file = HttpFile{.path = folder_ / "empty"}}); });
  const auto answer = Call({});
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->body, "");
}

TEST_F(HttpTest, AFileThatFailsItsCheckIsNotTakenForComplete) {
  ASSERT_THAT(WriteFileAtomically(folder_ / "bad", std::string(1 << 20, 'z')), IsOk());
  Serve([this](const HttpRequest&) {
    return Answer({.file = HttpFile{.path = folder_ / "bad", .check = [](absl::string_view, uint64_t remaining) {
                                      return remaining > 0 ? absl::OkStatus() : absl::DataLossError("damaged");
                                    }}});
  });
  EXPECT_THAT(Call({}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(server_->address())));
}

TEST_F(HttpTest, AMissingFileIsAServerError) {
  Serve([](const HttpRequest&) { return Answer({.file = HttpFile{.path = "/no/such/file"}}); });
  EXPECT_EQ(Call({})->status, 500);
}

TEST_F(HttpTest, OneConnectionCarriesManyRequests) {
  Serve(Echo);
  const std::string request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
  const std::string answer = Raw(request + "one" + request + "two");
  EXPECT_THAT(answer, AllOf(HasSubstr("one"), HasSubstr("two")));
}

TEST_F(HttpTest, ChunkedBodiesArriveWhole) {
  Serve(Echo);
  EXPECT_THAT(Raw("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              HasSubstr("abcde"));
}

TEST_F(HttpTest, AClientThatAsksIsToldToContinue) {
  Serve(Echo);
  RawConnection connection(server_->address());
  connection.Send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  EXPECT_THAT(connection.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 100"));
  connection.Send("abc");
  EXPECT_THAT(connection.ReadUntil("abc"), StartsWith("HTTP/1.1 200"));
}

TEST_F(HttpTest, ARefusedUploadStillGetsItsAnswer) {
  Serve([](const HttpRequest&) {
    return CollectBody(10, TextResponse(413, "too large"), [](std::string) { return HttpResponse{}; });
  });
  const auto answer = Call({.method = "PUT", .body = std::string(16 << 20, 'x')});
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->status, 413);
}

TEST_F(HttpTest, ABodyIsNotReadWhenTheAnswerIsKnown) {
  Serve([](const HttpRequest&) { return Answer(TextResponse(404, "nothing here")); });
  const auto answer = Call({.method = "PUT", .body = std::string(16 << 20, 'x')});
  ASSERT_THAT(answer, IsOk());
  EXPECT_EQ(answer->status, 404);
}

TEST_F(HttpTest, MalformedRequestsAreAnsweredWith400) {
  Serve(Echo);
  for (const char* bytes :
       {"\r\n\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}) {
    EXPECT_THAT(Raw(bytes), StartsWith("HTTP/1.1 400")) << bytes;
  }
  ExpectItStillServes();
}

TEST_F(HttpTest, HostileRequestsAreAnsweredOrDroppedAndHurtNobody) {
  Serve(Echo, {.silence_timeout = absl::Milliseconds(200)});
  int answered = 0, asked = 0;
  ForHostileInput("POST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 300,
                  [&](const std::string& bytes) {
                    // Every eighth: a connection each takes longer than parsing.
                    if (++asked % 8 != 0) return;
                    const std::string answer = Raw(bytes);
                    if (answer.empty()) return;
                    ASSERT_THAT(answer, StartsWith("HTTP/1.1 ")) << bytes;
                    ++answered;
                  });
  EXPECT_GT(answered, 50);
  ExpectItStillServes();
}

// Answers each connection with `bytes`, then closes it.
class RawServer {
 public:
  RawServer() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 8), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~RawServer() { ::close(fd_); }

  const std::string& address() const { return address_; }
  // Serves one connection.
  void Answer(const std::string& bytes) {
    const int peer = ::accept(fd_, nullptr, nullptr);
    char request[4096];
    (void)!::recv(peer, request, sizeof(request), 0);
    (void)!::send(peer, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    ::close(peer);
  }

 private:
  const int fd_;
  std::string address_;
};

TEST_F(HttpTest, AHostileServersAnswerIsReadOrRefusedInOneLineThatNamesIt) {
  RawServer server;
  int read = 0, refused = 0, asked = 0;
  ForHostileInput("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Y: z\r\n\r\nhello", 300, [&](const std::string& bytes) {
    if (++asked % 8 != 0) return;
    std::thread answer([&] { server.Answer(bytes); });
    const auto got = HttpClient(*ParseHttpAddress(server.address()), {.silence_timeout = absl::Seconds(2)}).Call({});
    answer.join();
    if (got.ok()) {
      ++read;
      return;
    }
    ++refused;
    ASSERT_THAT(std::string(got.status().message()), HasSubstr(server.address())) << bytes;
    ASSERT_THAT(got.status().message(), IsOneLine()) << bytes;
  });
  EXPECT_GT(read, 10);
  EXPECT_GT(refused, 10);
}

TEST_F(HttpTest, HeadersAndBodiesOverTheLimitAreRefused) {
  Serve(Echo, {.max_header_bytes = 1024, .max_body_bytes = 100});
  EXPECT_THAT(Raw(absl::StrCat("GET / HTTP/1.1\r\nX: ", std::string(5000, 'x'), "\r\n\r\n")),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(Raw(absl::StrCat("GET /", std::string(5000, 'x'), " HTTP/1.1\r\n\r\n")), StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(Raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n"), StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(Raw(absl::StrCat("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n",
                               std::string(101, 'x'), "\r\n0\r\n\r\n")),
              StartsWith("HTTP/1.1 413"));
  ExpectItStillServes();
}

// Finish() must not see half a body; destruction tells the handler.
class Recorder : public HttpExchange {
 public:
  Recorder(std::atomic<bool>& finished, absl::Notification& gone) : finished_(finished), gone_(gone) {}
  ~Recorder() override { gone_.Notify(); }
  absl::Status Write(absl::string_view) override { return absl::OkStatus(); }
  HttpResponse Finish() override {
    finished_ = true;
    return {};
  }

 private:
  std::atomic<bool>& finished_;
  absl::Notification& gone_;
};

TEST_F(HttpTest, AClientThatLeavesMidwayEndsTheExchangeUnfinished) {
  std::atomic<bool> finished{false};
  absl::Notification gone;
  Serve([&](const HttpRequest&) { return std::make_unique<Recorder>(finished, gone); });
  Raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this");
  gone.WaitForNotification();
  server_->Stop();
  EXPECT_FALSE(finished);
}

TEST_F(HttpTest, AnExchangeIsGoneBeforeItsAnswerArrives) {
  for (int round = 0; round < 100; ++round) {
    std::atomic<bool> finished{false};
    absl::Notification gone;
    Serve([&](const HttpRequest&) { return std::make_unique<Recorder>(finished, gone); });
    ASSERT_THAT(Call({.method = "PUT", .body = "x"}), IsOk());
    EXPECT_TRUE(gone.HasBeenNotified());
    server_->Stop();
  }
}

TEST_F(HttpTest, ASilentClientIsDropped) {
  Serve(Echo, {.silence_timeout = absl::Milliseconds(50)});
  RawConnection headless(server_->address());
  headless.Send("GET / HT");
  EXPECT_EQ(headless.ReadToEnd(), "");
  RawConnection bodiless(server_->address());
  bodiless.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_EQ(bodiless.ReadToEnd(), "");
}

TEST_F(HttpTest, ConnectionsOverTheLimitAreTold503) {
  Serve(Echo, {.max_connections = 1});
  RawConnection first(server_->address());
  first.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
  ASSERT_THAT(first.ReadUntil("hi"), HasSubstr("200"));
  EXPECT_THAT(Raw(""), StartsWith("HTTP/1.1 503"));
}

TEST_F(HttpTest, StopAwaitsTheRequestInFlight) {
  absl::Notification begun, go_on;
  Serve([&](const HttpRequest&) {
    begun.Notify();
    go_on.WaitForNotification();
    return Answer({.body = "done"});
  });
  std::string body;
  std::thread client([&] { body = Call({})->body; });
  begun.WaitForNotification();
  std::thread stopper([&] { server_->Stop(); });
  go_on.Notify();
  stopper.join();
  client.join();
  EXPECT_EQ(body, "done");
  EXPECT_THAT(Call({}), StatusIs(absl::StatusCode::kUnavailable, HasSubstr(server_->address())));
}

TEST_F(HttpTest, StopDoesNotWaitForIdleConnections) {
  Serve(Echo, {.stop_grace = absl::Hours(1)});
  RawConnection idle(server_->address());
  idle.Send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
  ASSERT_THAT(idle.ReadUntil("hi"), HasSubstr("200"));
  server_->Stop();
  EXPECT_EQ(idle.ReadToEnd(), "");
}

TEST_F(HttpTest, StopDropsRequestsAfterTheGracePeriod) {
  Serve(Echo, {.stop_grace = absl::Milliseconds(20)});
  RawConnection slow(server_->address());
  slow.Send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  ASSERT_THAT(slow.ReadUntil("\r\n\r\n"), HasSubstr("100"));
  server_.reset();
  EXPECT_EQ(slow.ReadToEnd(), "");
}

TEST_F(HttpTest, AServerThatIsSilentIsGivenUp) {
  absl::Notification asked, over;
  Serve([&](const HttpRequest&) {
    asked.Notify();
    over.WaitForNotification();
    return Answer({});
  });
  EXPECT_THAT(Call({}, {.silence_timeout = absl::Milliseconds(50)}),
              StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr(server_->address())));
  asked.WaitForNotification();
  over.Notify();
  server_->Stop();
}

TEST_F(HttpTest, AnAnswerOverTheLimitIsGivenUp) {
  Serve(Echo);
  EXPECT_THAT(Call({.method = "POST", .body = std::string(1000, 'x')}, {.max_body_bytes = 999}),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(HttpTest, ASinkEndsTheCall) {
  Serve(Echo);
  const auto refuse = [](absl::string_view) { return absl::DataLossError("not this"); };
  EXPECT_THAT(Call({.method = "POST", .body = "x", .sink = refuse}),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not this")));
}

TEST_F(HttpTest, AMissingFileToSendIsNamed) {
  Serve(Echo);
  EXPECT_THAT(Call({.method = "PUT", .body_file = folder_ / "nothing"}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
}

TEST_F(HttpTest, APortThatIsTakenIsNamed) {
  Serve(Echo);
  EXPECT_THAT(HttpServer::Start({.listen = server_->address()}, Echo),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr(server_->address())));
}

TEST_F(HttpTest, OpsEndpointsShowMetricsHealthAndReadiness) {
  const auto metrics = std::make_shared<prometheus::Registry>();
  prometheus::BuildCounter().Name("kd_things_total").Help("Things.").Register(*metrics).Add({}).Increment(3);
  std::atomic<bool> ready{false};
  HttpRoutes routes;
  AddOpsEndpoints(metrics, [&] { return ready ? absl::OkStatus() : absl::UnavailableError("warming up"); }, routes);
  Serve(routes);
  const auto scrape = Call({.target = "/metrics"});
  ASSERT_THAT(scrape, IsOk());
  EXPECT_THAT(scrape->body, HasSubstr("kd_things_total 3"));
  EXPECT_THAT(std::string(scrape->headers.Get("Content-Type")), HasSubstr("version=0.0.4"));
  EXPECT_EQ(Call({.target = "/healthz"})->status, 200);
  EXPECT_EQ(Call({.target = "/readyz"})->status, 503);
  EXPECT_THAT(Call({.target = "/readyz"})->body, HasSubstr("warming up"));
  ready = true;
  EXPECT_EQ(Call({.target = "/readyz"})->status, 200);
  EXPECT_EQ(Call({.method = "POST", .target = "/metrics"})->status, 405);
  EXPECT_EQ(Call({.target = "/other"})->status, 404);
}

}  // namespace
}  // namespace kd
