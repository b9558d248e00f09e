// The client against registries that lie, break off or are not there. How it gets on with ours is tested beside that.
#include "storage/registry/registry_client.h"

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http/http_server.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A registry whose answers the test writes down, by "METHOD /path". Everything else is 404.
class ScriptedRegistry {
 public:
  ScriptedRegistry() {
    auto server = HttpServer::Start({}, [this](const HttpRequest& request) {
      const auto found =
          answers_.find(absl::StrCat(request.method == "HEAD" ? "GET" : request.method, " ", request.path));
      const HttpResponse answer = found == answers_.end() ? TextResponse(404, "") : found->second;
      return CollectBody(uint64_t{1} << 30, {}, [answer](std::string) { return answer; });
    });
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  // Before the first call only.
  void Script(const std::string& what, HttpResponse answer) { answers_[what] = std::move(answer); }

  // A manifest of one layer under repository "a", tag "v1".
  void ServeManifest(const std::string& title, const std::string& layer, uint64_t size) {
    const std::string bytes = ImageManifestJson(
        {.config = {.media_type = std::string(kEmptyConfigType), .digest = Sha256Digest("{}"), .size = 2},
         .layers = {{.media_type = "text/plain",
                     .digest = Sha256Digest(layer),
                     .size = size,
                     .annotations = {{std::string(kTitleAnnotation), title}}}}});
    Script("GET /v2/a/manifests/v1", {.headers = {{"Content-Type", std::string(kImageManifestType)},
                                                  {"Docker-Content-Digest", Sha256Digest(bytes)}},
                                      .body = bytes});
  }
  void ServeBlob(const std::string& digest, const std::string& bytes) {
    Script(absl::StrCat("GET /v2/a/blobs/", digest), {.body = bytes});
  }

  std::string url() const { return absl::StrCat("http://", server_->address()); }
  void Stop() { server_->Stop(); }

 private:
  std::map<std::string, HttpResponse> answers_;
  std::unique_ptr<HttpServer> server_;
};

class RegistryClientTest : public ::testing::Test {
 protected:
  absl::StatusOr<PulledArtifact> Pull() { return RegistryClient(registry_.url()).Pull("a", "v1", Target()); }
  std::string Target() const { return folder_ / "pulled"; }
  // Nothing, not even a partial file, was left.
  void ExpectNothingIsKept() { EXPECT_TRUE(!std::filesystem::exists(Target()) || std::filesystem::is_empty(Target())); }

  const TemporaryFolder folder_;
  ScriptedRegistry registry_;
};

TEST_F(RegistryClientTest, PullsAFile) {
  registry_.ServeManifest("abc.txt", "abc", 3);
  registry_.ServeBlob(Sha256Digest("abc"), "abc");
  const auto pulled = Pull();
  ASSERT_THAT(pulled, IsOk());
  ASSERT_EQ(pulled->artifact.files.size(), 1u);
  EXPECT_EQ(pulled->artifact.files[0].name, "abc.txt");
  EXPECT_EQ(pulled->artifact.files[0].media_type, "text/plain");
  EXPECT_THAT(ReadFile(pulled->artifact.files[0].path), IsOkAndHolds("abc"));
}

TEST_F(RegistryClientTest, AFileThatIsThereIsNotFetchedAgain) {
  registry_.ServeManifest("abc.txt", "abc", 3);  // Its blob would be 404.
  ASSERT_THAT(CreateFolders(Target()), IsOk());
  ASSERT_THAT(WriteFileAtomically(Target() + "/abc.txt", "abc"), IsOk());
  EXPECT_THAT(Pull(), IsOk());
}

TEST_F(RegistryClientTest, AnOldFileOfTheNameIsReplaced) {
  registry_.ServeManifest("abc.txt", "abc", 3);
  registry_.ServeBlob(Sha256Digest("abc"), "abc");
  ASSERT_THAT(CreateFolders(Target()), IsOk());
  ASSERT_THAT(WriteFileAtomically(Target() + "/abc.txt", "old"), IsOk());
  ASSERT_THAT(Pull(), IsOk());
  EXPECT_THAT(ReadFile(Target() + "/abc.txt"), IsOkAndHolds("abc"));
}

TEST_F(RegistryClientTest, BytesOfAnotherDigestAreRefused) {
  registry_.ServeManifest("abc.txt", "abc", 3);
  registry_.ServeBlob(Sha256Digest("abc"), "abX");
  EXPECT_THAT(Pull(),
              StatusIs(absl::StatusCode::kDataLoss, AllOf(HasSubstr(Sha256Digest("abc")), HasSubstr("registry://a:v1"),
                                                          HasSubstr(registry_.url()))));
  ExpectNothingIsKept();
}

TEST_F(RegistryClientTest, MoreBytesThanAnnouncedAreRefused) {
  registry_.ServeManifest("abc.txt", "abc", 3);
  registry_.ServeBlob(Sha256Digest("abc"), std::string(1 << 20, 'x'));
  EXPECT_THAT(Pull(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr("more than the 3 bytes")));
  ExpectNothingIsKept();
}

TEST_F(RegistryClientTest, FewerBytesThanAnnouncedAreRefused) {
  registry_.ServeManifest("abc.txt", "abc", 4);
  registry_.ServeBlob(Sha256Digest("abc"), "abc");
  EXPECT_THAT(Pull(), StatusIs(absl::StatusCode::kDataLoss));
  ExpectNothingIsKept();
}

TEST_F(RegistryClientTest, ABlobThatIsGoneIsDataLoss) {
  registry_.ServeManifest("abc.txt", "abc", 3);
  EXPECT_THAT(Pull(), StatusIs(absl::StatusCode::kDataLoss,
                               AllOf(HasSubstr(Sha256Digest("abc")), HasSubstr("push the artifact again"))));
}

TEST_F(RegistryClientTest, FileNamesThatWouldLeaveTheFolderAreRefused) {
  for (const char* title : {"../abc.txt", "/etc/abc", "..", ".", "", "a/b", "a\\b", "a\nb"}) {
    ScriptedRegistry hostile;
    hostile.ServeManifest(title, "abc", 3);
    hostile.ServeBlob(Sha256Digest("abc"), "abc");
    EXPECT_THAT(RegistryClient(hostile.url()).Pull("a", "v1", Target()),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("leave the folder")))
        << title;
    ExpectNothingIsKept();
  }
}

TEST_F(RegistryClientTest, AManifestOfAnotherDigestIsRefused) {
  registry_.Script("GET /v2/a/manifests/v1", {.headers = {{"Content-Type", std::string(kImageManifestType)},
                                                          {"Docker-Content-Digest", Sha256Digest("x")}},
                                              .body = "{}"});
  EXPECT_THAT(Pull(), StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Sha256Digest("x"))));
}

TEST_F(RegistryClientTest, AManifestThatIsNoneIsRefused) {
  registry_.Script("GET /v2/a/manifests/v1",
                   {.headers = {{"Content-Type", std::string(kImageManifestType)}}, .body = "<html>"});
  EXPECT_THAT(Pull(), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a JSON object")));
}

TEST_F(RegistryClientTest, AnIndexIsNotPulled) {
  registry_.Script("GET /v2/a/manifests/v1", {.headers = {{"Content-Type", std::string(kImageIndexType)}},
                                              .body = R"({"schemaVersion": 2, "manifests": []})"});
  EXPECT_THAT(Pull(), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("by its digest")));
}

TEST_F(RegistryClientTest, WhatIsMissingIsNamedWithTheWayToListWhatIsThere) {
  RegistryClient client(registry_.url());
  const auto is_helpful =
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("registry://students/x:v9"),
                     HasSubstr(absl::StrCat("curl ", registry_.url(), "/v2/students/x/tags/list"))));
  EXPECT_THAT(client.Resolve("students/x", "v9"), is_helpful);
  EXPECT_THAT(client.Pull("students/x", "v9", Target()), is_helpful);
}

TEST_F(RegistryClientTest, ARegistryThatIsNotThereIsNamed) {
  RegistryClient client(registry_.url());
  registry_.Stop();
  const auto names_it = StatusIs(absl::StatusCode::kUnavailable, HasSubstr(registry_.url()));
  EXPECT_THAT(client.Resolve("a", "v1"), names_it);
  EXPECT_THAT(client.Pull("a", "v1", Target()), names_it);
  EXPECT_THAT(client.Repositories(), names_it);
  EXPECT_THAT(client.Tags("a"), names_it);
  ASSERT_THAT(WriteFileAtomically(folder_ / "w", "weights"), IsOk());
  EXPECT_THAT(client.Push("a", "v1", {.files = {{.name = "w", .media_type = "text/plain", .path = folder_ / "w"}}}),
              names_it);
}

TEST_F(RegistryClientTest, SomethingElseThanARegistryIsNoticed) {
  registry_.Script("GET /v2/a/manifests/v1", {.body = "hello"});
  registry_.Script("GET /v2/_catalog", {.body = "hello"});
  RegistryClient client(registry_.url());
  EXPECT_THAT(client.Resolve("a", "v1"), StatusIs(absl::StatusCode::kInternal, HasSubstr("is a registry")));
  EXPECT_THAT(client.Repositories(), StatusIs(absl::StatusCode::kInternal, HasSubstr("is a registry")));
}

TEST_F(RegistryClientTest, AFullDiskOfTheRegistryIsResourceExhausted) {
  registry_.Script(
      "POST /v2/a/blobs/uploads/",
      {.status = 507, .body = R"({"errors": [{"code": "UNKNOWN", "message": "the disk is full; free space"}]})"});
  ASSERT_THAT(WriteFileAtomically(folder_ / "w", "weights"), IsOk());
  EXPECT_THAT(
      RegistryClient(registry_.url())
          .Push("a", "v1", {.files = {{.name = "w", .media_type = "text/plain", .path = folder_ / "w"}}}),
      StatusIs(absl::StatusCode::kResourceExhausted, AllOf(HasSubstr("the disk is full"), HasSubstr(registry_.url()))));
}

TEST_F(RegistryClientTest, WhatCannotBeNamesIsRefusedBeforeAnyCall) {
  RegistryClient client("http://127.0.0.1:1");
  for (const char* repository : {"", "Students/x", "../x", "a b"}) {
    EXPECT_THAT(client.Resolve(repository, "v1"),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(absl::StrCat("\"", repository, "\""))));
  }
  EXPECT_THAT(client.Resolve("a", "v/1"), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("\"v/1\"")));
  EXPECT_THAT(client.Push("a", Sha256Digest("x"), {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("not a tag")));
  EXPECT_THAT(client.Push("a", "v1", {}), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("at least one file")));
  EXPECT_THAT(client.Push("a", "v1", {.files = {{.name = "../w", .media_type = "text/plain", .path = "w"}}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("../w")));
  EXPECT_THAT(RegistryClient("127.0.0.1:1").Resolve("a", "v1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("http://")));
}

TEST_F(RegistryClientTest, AMissingFileIsNamedWhenPushed) {
  EXPECT_THAT(RegistryClient(registry_.url())
                  .Push("a", "v1", {.files = {{.name = "w", .media_type = "text/plain", .path = folder_ / "nothing"}}}),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing")));
}

}  // namespace
}  // namespace kd
