#include "base/http/http_message.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "base/hostile_input.h"
#include "base/http/http_address.h"
#include "base/rng.h"
#include "base/status_matchers.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST(HttpAddressTest, ReadsNamesAndAddresses) {
  for (const char* text : {"127.0.0.1:0", "localhost:7071", "[::1]:65535", "registry.example:80"}) {
    const auto address = ParseHttpAddress(text);
    ASSERT_THAT(address, IsOk());
    EXPECT_EQ(address->ToString(), text);
  }
}

TEST(HttpAddressTest, QuotesWhatItRefusesAndShowsARightForm) {
  for (const char* text : {"", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1: 80",
                           "::1:80", "[::1:80", "[x]:80", "a b:80"}) {
    EXPECT_THAT(ParseHttpAddress(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(absl::StrCat("\"", text, "\"")), HasSubstr("127.0.0.1:7071"))));
  }
}

TEST(HttpAddressTest, ReadsPlainUrlsOnly) {
  EXPECT_EQ(ParseHttpUrl("http://127.0.0.1:7071/")->port, 7071);
  EXPECT_THAT(ParseHttpUrl("https://127.0.0.1:7071"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("https://127.0.0.1:7071")));
  EXPECT_THAT(ParseHttpUrl("http://127.0.0.1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("no port")));
}

TEST(HttpAddressTest, KnowsWhatOnlyThisMachineReaches) {
  for (const char* host : {"127.0.0.1", "127.8.9.10", "::1", "localhost"})
    EXPECT_TRUE(IsLoopback({.host = host})) << host;
  for (const char* host : {"0.0.0.0", "10.0.0.1", "::", "example.com", "localhost.example.com"})
    EXPECT_FALSE(IsLoopback({.host = host})) << host;
}

TEST(HttpMessageTest, HeaderNamesCompareWithoutCase) {
  HttpHeaders headers{{"Content-Type", "text/plain"}};
  headers.Set("content-type", "application/json");
  EXPECT_EQ(headers.Get("CONTENT-TYPE"), "application/json");
  EXPECT_EQ(headers.Get("Accept"), "");
}

TEST(HttpMessageTest, DecodesPathAndQuery) {
  HttpRequest request;
  ASSERT_THAT(ParseHttpTarget("/a%2Fb+c?digest=sha256%3Aab&last=x+y&flag&digest=second", request), IsOk());
  EXPECT_EQ(request.path, "/a/b+c");
  EXPECT_THAT(request.query, UnorderedElementsAre(Pair("digest", "sha256:ab"), Pair("last", "x y"), Pair("flag", "")));
}

TEST(HttpMessageTest, RefusesBrokenTargets) {
  for (const char* target : {"", "*", "http://x/", "/%", "/%2", "/%zz", "/a?b=%0", "/%00"}) {
    HttpRequest request;
    EXPECT_THAT(ParseHttpTarget(target, request), StatusIs(absl::StatusCode::kInvalidArgument)) << target;
  }
}

TEST(HttpAddressTest, HostileTextIsRefusedInOneLineOrReadsBackTheSame) {
  for (const char* good : {"127.0.0.1:7071", "[fe80::1]:80", "registry.example:443"}) {
    int read = 0, refused = 0;
    ForHostileInput(good, 2000, [&](const std::string& text) {
      const auto address = ParseHttpAddress(text);
      if (address.ok()) {
        ++read;
        ASSERT_EQ(ParseHttpAddress(address->ToString())->ToString(), address->ToString()) << text;
        return;
      }
      ++refused;
      ASSERT_EQ(address.status().code(), absl::StatusCode::kInvalidArgument);
      ASSERT_THAT(address.status().message(), IsOneLine()) << text;
      ASSERT_FALSE(ParseHttpUrl(absl::StrCat("http://", text, "/")).ok()) << text;
    });
    EXPECT_GT(read, 20);
    EXPECT_GT(refused, 500);
  }
}

TEST(HttpMessageTest, HostileTargetsArePathsWithoutZeroBytesOrRefusedInOneLine) {
  ForHostileInput("/v2/a%2Fb/blobs/uploads/?digest=sha256%3Aab&last=x+y", 3000, [](const std::string& text) {
    HttpRequest request;
    const absl::Status status = ParseHttpTarget(text, request);
    if (!status.ok()) {
      ASSERT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      ASSERT_THAT(status.message(), IsOneLine()) << text;
      return;
    }
    ASSERT_EQ(request.path[0], '/');
    ASSERT_EQ(request.path.find('\0'), std::string::npos) << text;
  });
}

TEST(HttpMessageTest, HostileRangesLieWithinTheWhole) {
  ForHostileInput("bytes=500-999", 3000, [](const std::string& text) {
    const auto range = SelectByteRange(text, 10000);
    if (!range.ok()) {
      ASSERT_EQ(range.status().code(), absl::StatusCode::kOutOfRange) << text;
      return;
    }
    ASSERT_LE(range->first, 10000u) << text;
    ASSERT_LE(range->size, 10000 - range->first) << text;
    ASSERT_GT(range->size, 0u) << text;
  });
}

TEST(HttpMessageTest, WhatIsEncodedDecodesToItself) {
  CounterRng rng(7);
  for (int round = 0; round < 200; ++round) {
    std::string text = "/";
    for (int i = 0; i < 20; ++i) text.push_back(static_cast<char>(1 + rng.Below(255)));
    HttpRequest request;
    ASSERT_THAT(ParseHttpTarget(absl::StrCat("/", PercentEncode(text)), request), IsOk());
    EXPECT_EQ(request.path, absl::StrCat("/", text));
  }
}

// The examples of RFC 9110, section 14.1.2, for a representation of 10000 bytes.
TEST(HttpMessageTest, SelectsRangesAsTheStandardSays) {
  const auto expect = [](absl::string_view header, uint64_t first, uint64_t size, bool partial) {
    const auto range = SelectByteRange(header, 10000);
    ASSERT_THAT(range, IsOk());
    EXPECT_EQ(range->first, first) << header;
    EXPECT_EQ(range->size, size) << header;
    EXPECT_EQ(range->partial, partial) << header;
  };
  expect("bytes=0-499", 0, 500, true);
  expect("bytes=500-999", 500, 500, true);
  expect("bytes=-500", 9500, 500, true);
  expect("bytes=9500-", 9500, 500, true);
  expect("bytes=0-20000", 0, 10000, true);
  expect("bytes=-20000", 0, 10000, true);
  for (const char* ignored : {"", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-2", "lines=0-1", "bytes=0-0,-1",
                              "bytes=18446744073709551616-"}) {
    expect(ignored, 0, 10000, false);
  }
}

TEST(HttpMessageTest, ARangeBehindTheEndIsRefused) {
  EXPECT_THAT(SelectByteRange("bytes=10000-", 10000), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(SelectByteRange("bytes=-0", 10000), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(SelectByteRange("bytes=0-0", 0), StatusIs(absl::StatusCode::kOutOfRange));
}

}  // namespace
}  // namespace kd
