// The OCI distribution API as clients see it (distribution-spec 1.1; section names in the tests' comments).
#include "server/registry/registry_http.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/http/http_client.h"
#include "base/http/http_testing.h"
#include "base/status_matchers.h"
#include "base/testing.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "prometheus/text_serializer.h"
#include "storage/blobs/blob_digest.h"
#include "storage/registry/manifest.h"
#include "storage/registry/registry_client.h"

namespace kd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

using Json = nlohmann::json;

const std::string kAbc = Sha256Digest("abc");

class RegistryHttpTest : public ::testing::Test {
 protected:
  RegistryHttpTest() {
    auto registry = Registry::Open(folder_ / "registry", clock_);
    EXPECT_THAT(registry, IsOk());
    registry_ = *std::move(registry);
    auto server = HttpServer::Start({}, NewRegistryHandler(*registry_, metrics_));
    EXPECT_THAT(server, IsOk());
    server_ = *std::move(server);
  }

  HttpAnswer Call(const std::string& method, const std::string& target, const std::string& body = "",
                  const HttpHeaders& headers = {}) {
    const auto answer = HttpClient(*ParseHttpAddress(server_->address()))
                            .Call({.method = method, .target = target, .headers = headers, .body = body});
    EXPECT_THAT(answer, IsOk());
    return answer.ok() ? *answer : HttpAnswer{};
  }
  HttpAnswer Get(const std::string& target) { return Call("GET", target); }

  static std::string ErrorCode(const HttpAnswer& answer) {
    const Json document = Json::parse(answer.body, nullptr, false);
    return document.is_object() ? document["errors"][0]["code"].get<std::string>() : answer.body;
  }

  // Path of a fresh upload.
  std::string StartUpload() { return std::string(Call("POST", "/v2/a/blobs/uploads/").headers.Get("Location")); }

  void PutBlob(const std::string& bytes) {
    EXPECT_EQ(Call("POST", absl::StrCat("/v2/a/blobs/uploads/?digest=", Sha256Digest(bytes)), bytes).status, 201);
  }
  // A manifest whose blobs are stored.
  std::string ManifestOf(const std::string& layer) {
    PutBlob("{}");
    PutBlob(layer);
    return ImageManifestJson(
        {.config = {.media_type = std::string(kEmptyConfigType), .digest = Sha256Digest("{}"), .size = 2},
         .layers = {{.media_type = "text/plain", .digest = Sha256Digest(layer), .size = layer.size()}}});
  }
  HttpAnswer PutManifest(const std::string& reference, const std::string& bytes) {
    return Call("PUT", absl::StrCat("/v2/a/manifests/", reference), bytes,
                {{"Content-Type", std::string(kImageManifestType)}});
  }
  std::string BlobPath(const std::string& digest) { return registry_->blobs().Find(digest)->path; }
  std::string Raw(const std::string& bytes) { return AnswerToRaw(server_->address(), bytes); }

  const TemporaryFolder folder_;
  FakeClock clock_{absl::Now()};
  prometheus::Registry metrics_;
  std::unique_ptr<Registry> registry_;
  std::unique_ptr<HttpServer> server_;
};

// "Determining Support".
TEST_F(RegistryHttpTest, TheRootSaysThatThisIsARegistry) {
  EXPECT_EQ(Get("/v2/").status, 200);
  EXPECT_EQ(Call("POST", "/v2/").status, 405);
}

// "Pulling blobs".
TEST_F(RegistryHttpTest, ABlobIsServedWithItsDigest) {
  PutBlob("abc");
  const HttpAnswer answer = Get("/v2/a/blobs/" + kAbc);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "abc");
  EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), kAbc);
  const HttpAnswer head = Call("HEAD", "/v2/a/blobs/" + kAbc);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.Get("Content-Length"), "3");
  EXPECT_EQ(head.headers.Get("Docker-Content-Digest"), kAbc);
}

TEST_F(RegistryHttpTest, PartsOfABlobAreServed) {
  PutBlob("abc");
  const HttpAnswer part = Call("GET", "/v2/a/blobs/" + kAbc, "", {{"Range", "bytes=1-"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "bc");
  EXPECT_EQ(part.headers.Get("Content-Range"), "bytes 1-2/3");
  EXPECT_EQ(Call("GET", "/v2/a/blobs/" + kAbc, "", {{"Range", "bytes=3-"}}).status, 416);
}

TEST_F(RegistryHttpTest, MissingBlobsAndBrokenDigestsAreToldApart) {
  const HttpAnswer missing = Get("/v2/a/blobs/" + kAbc);
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(ErrorCode(missing), "BLOB_UNKNOWN");
  EXPECT_EQ(Call("HEAD", "/v2/a/blobs/" + kAbc).status, 404);
  const HttpAnswer broken = Get("/v2/a/blobs/sha256:..");
  EXPECT_EQ(broken.status, 400);
  EXPECT_EQ(ErrorCode(broken), "DIGEST_INVALID");
}

TEST_F(RegistryHttpTest, ADamagedBlobIsNotTakenForWholeAndCanBePushedAgain) {
  const std::string bytes(1 << 20, 'w');
  PutBlob(bytes);
  std::fstream(BlobPath(Sha256Digest(bytes)), std::ios::in | std::ios::out) << "X";
  EXPECT_THAT(HttpClient(*ParseHttpAddress(server_->address()))
                  .Call({.target = absl::StrCat("/v2/a/blobs/", Sha256Digest(bytes))}),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(Get(absl::StrCat("/v2/a/blobs/", Sha256Digest(bytes))).status, 404);
  PutBlob(bytes);
  EXPECT_EQ(Get(absl::StrCat("/v2/a/blobs/", Sha256Digest(bytes))).body, bytes);
  EXPECT_THAT(prometheus::TextSerializer().Serialize(metrics_.Collect()),
              HasSubstr("kd_registry_damaged_blobs_total 1"));
}

// "Pushing a blob monolithically", POST then PUT.
TEST_F(RegistryHttpTest, AnUploadIsClosedByOnePut) {
  const HttpAnswer started = Call("POST", "/v2/a/blobs/uploads/");
  EXPECT_EQ(started.status, 202);
  const std::string upload(started.headers.Get("Location"));
  EXPECT_THAT(upload, StartsWith("/v2/a/blobs/uploads/"));
  const HttpAnswer closed = Call("PUT", absl::StrCat(upload, "?digest=", PercentEncode(kAbc)), "abc");
  EXPECT_EQ(closed.status, 201);
  EXPECT_EQ(closed.headers.Get("Location"), "/v2/a/blobs/" + kAbc);
  EXPECT_EQ(closed.headers.Get("Docker-Content-Digest"), kAbc);
  EXPECT_EQ(Get("/v2/a/blobs/" + kAbc).body, "abc");
  EXPECT_EQ(ErrorCode(Get(upload)), "BLOB_UPLOAD_UNKNOWN");
}

// "Single POST".
TEST_F(RegistryHttpTest, ABlobIsPushedByOnePost) {
  const HttpAnswer answer = Call("POST", "/v2/a/blobs/uploads/?digest=" + kAbc, "abc");
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.headers.Get("Location"), "/v2/a/blobs/" + kAbc);
  EXPECT_EQ(Get("/v2/a/blobs/" + kAbc).body, "abc");
}

TEST_F(RegistryHttpTest, Sha512BlobsAreServedToo) {
  const std::string digest = BlobDigest("abc", "sha512:");
  EXPECT_EQ(Call("POST", "/v2/a/blobs/uploads/?digest=" + digest, "abc").status, 201);
  const HttpAnswer answer = Get("/v2/a/blobs/" + digest);
  EXPECT_EQ(answer.body, "abc");
  EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), digest);
}

TEST_F(RegistryHttpTest, WrongDigestsAreRefusedOnEveryPath) {
  const std::string wrong = Sha256Digest("other");
  for (const HttpAnswer& answer :
       {Call("POST", "/v2/a/blobs/uploads/?digest=" + wrong, "abc"),
        Call("PUT", StartUpload() + "?digest=" + wrong, "abc"), Call("PUT", StartUpload() + "?digest=sha256:12", "abc"),
        Call("PUT", StartUpload(), "abc"), Call("POST", "/v2/a/blobs/uploads/?digest=md5:12", "abc")}) {
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(ErrorCode(answer), "DIGEST_INVALID");
  }
  EXPECT_EQ(Get("/v2/a/blobs/" + wrong).status, 404);
}

// "Pushing a blob in chunks".
TEST_F(RegistryHttpTest, ChunksInOrderMakeABlob) {
  const std::string upload = StartUpload();
  const HttpAnswer first = Call("PATCH", upload, "a", {{"Content-Range", "0-0"}});
  EXPECT_EQ(first.status, 202);
  EXPECT_EQ(first.headers.Get("Range"), "0-0");
  EXPECT_EQ(first.headers.Get("Location"), upload);
  EXPECT_EQ(Call("PATCH", upload, "b", {{"Content-Range", "1-1"}}).headers.Get("Range"), "0-1");
  const HttpAnswer status = Get(upload);
  EXPECT_EQ(status.status, 204);
  EXPECT_EQ(status.headers.Get("Range"), "0-1");
  EXPECT_EQ(Call("PUT", absl::StrCat(upload, "?digest=", kAbc), "c", {{"Content-Range", "2-2"}}).status, 201);
  EXPECT_EQ(Get("/v2/a/blobs/" + kAbc).body, "abc");
}

TEST_F(RegistryHttpTest, AChunkOutOfOrderIsRefusedAndTheUploadGoesOn) {
  const std::string upload = StartUpload();
  ASSERT_EQ(Call("PATCH", upload, "a", {{"Content-Range", "0-0"}}).status, 202);
  for (const char* range : {"0-0", "2-2"}) {
    const HttpAnswer refused = Call("PATCH", upload, "x", {{"Content-Range", range}});
    EXPECT_EQ(refused.status, 416);
    EXPECT_EQ(refused.headers.Get("Range"), "0-0");
    EXPECT_EQ(refused.headers.Get("Location"), upload);
  }
  EXPECT_EQ(Call("PUT", absl::StrCat(upload, "?digest=", kAbc), "c", {{"Content-Range", "2-2"}}).status, 416);
  EXPECT_EQ(Call("PUT", absl::StrCat(upload, "?digest=", kAbc), "bc", {{"Content-Range", "1-2"}}).status, 201);
}

TEST_F(RegistryHttpTest, AChunkThatContradictsItselfIsRefused) {
  EXPECT_EQ(ErrorCode(Call("PATCH", StartUpload(), "abc", {{"Content-Range", "0-7"}})), "SIZE_INVALID");
  for (const char* range : {"0", "a-b", "5-2", "-", "bytes */3"}) {
    EXPECT_EQ(Call("PATCH", StartUpload(), "abc", {{"Content-Range", range}}).status, 400) << range;
  }
}

TEST_F(RegistryHttpTest, AChunkOfUnknownLengthIsAppended) {
  const std::string upload = StartUpload();
  EXPECT_THAT(
      Raw(absl::StrCat("PATCH ", upload,
                       " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")),
      StartsWith("HTTP/1.1 202"));
  EXPECT_EQ(Call("PUT", absl::StrCat(upload, "?digest=", kAbc)).status, 201);
}

TEST_F(RegistryHttpTest, ATruncatedChunkIsTakenBack) {
  const std::string upload = StartUpload();
  ASSERT_EQ(Call("PATCH", upload, "a").status, 202);
  Raw(absl::StrCat("PATCH ", upload, " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of it"));
  // The server may still be busy with the broken connection: the claim of the upload is waited for.
  HttpAnswer answer;
  while ((answer = Call("PUT", absl::StrCat(upload, "?digest=", kAbc), "bc")).status == 409) std::this_thread::yield();
  EXPECT_EQ(answer.status, 201);
}

TEST_F(RegistryHttpTest, ATruncatedPostLeavesNothing) {
  Raw(absl::StrCat("POST /v2/a/blobs/uploads/?digest=", kAbc, " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab"));
  server_->Stop();
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "registry/uploads"));
  EXPECT_THAT(registry_->blobs().Find(kAbc), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(RegistryHttpTest, AnUploadIsCancelled) {
  const std::string upload = StartUpload();
  EXPECT_EQ(Call("DELETE", upload).status, 204);
  EXPECT_EQ(Call("PUT", absl::StrCat(upload, "?digest=", kAbc), "abc").status, 404);
}

TEST_F(RegistryHttpTest, AFullDiskIsToldAs507) {
  const std::string upload = StartUpload();
  const std::string path = absl::StrCat(folder_ / "registry/uploads/", upload.substr(upload.rfind('/') + 1));
  std::filesystem::remove(path);
  std::filesystem::create_symlink("/dev/full", path);  // Writes to it fail as on a full disk.
  const HttpAnswer answer = Call("PATCH", upload, "abc");
  EXPECT_EQ(answer.status, 507);
  EXPECT_THAT(answer.body, HasSubstr("the disk is full"));
}

// "Mounting a blob from another repository".
TEST_F(RegistryHttpTest, ABlobThatIsThereIsMountedAndAnotherUploaded) {
  PutBlob("abc");
  const HttpAnswer mounted = Call("POST", absl::StrCat("/v2/b/blobs/uploads/?mount=", kAbc, "&from=a"));
  EXPECT_EQ(mounted.status, 201);
  EXPECT_EQ(mounted.headers.Get("Location"), "/v2/b/blobs/" + kAbc);
  const HttpAnswer missing =
      Call("POST", absl::StrCat("/v2/b/blobs/uploads/?mount=", Sha256Digest("missing"), "&from=a"));
  EXPECT_EQ(missing.status, 202);
  EXPECT_THAT(std::string(missing.headers.Get("Location")), StartsWith("/v2/b/blobs/uploads/"));
}

// "Pushing Manifests", "Pulling manifests".
TEST_F(RegistryHttpTest, AManifestIsServedByTagAndDigest) {
  const std::string bytes = ManifestOf("abc"), digest = Sha256Digest(bytes);
  const HttpAnswer put = PutManifest("v1", bytes);
  EXPECT_EQ(put.status, 201);
  EXPECT_EQ(put.headers.Get("Docker-Content-Digest"), digest);
  EXPECT_EQ(put.headers.Get("Location"), "/v2/a/manifests/" + digest);
  for (const std::string& reference : {std::string("v1"), digest}) {
    const HttpAnswer answer = Get("/v2/a/manifests/" + reference);
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, bytes);
    EXPECT_EQ(answer.headers.Get("Content-Type"), kImageManifestType);
    EXPECT_EQ(answer.headers.Get("Docker-Content-Digest"), digest);
    const HttpAnswer head = Call("HEAD", "/v2/a/manifests/" + reference);
    EXPECT_EQ(head.headers.Get("Content-Length"), absl::StrCat(bytes.size()));
    EXPECT_EQ(head.headers.Get("Docker-Content-Digest"), digest);
  }
}

TEST_F(RegistryHttpTest, ManifestsThatCannotBeAreRefused) {
  const std::string missing =
      ImageManifestJson({.config = {.media_type = "x/y", .digest = Sha256Digest("nowhere"), .size = 7}});
  EXPECT_EQ(PutManifest("v1", missing).status, 404);
  EXPECT_EQ(ErrorCode(PutManifest("v1", missing)), "MANIFEST_BLOB_UNKNOWN");
  EXPECT_EQ(ErrorCode(PutManifest("v1", "not JSON")), "MANIFEST_INVALID");
  EXPECT_EQ(ErrorCode(PutManifest(".v1", ManifestOf("abc"))), "MANIFEST_INVALID");
  EXPECT_EQ(ErrorCode(PutManifest(Sha256Digest("other"), ManifestOf("abc"))), "DIGEST_INVALID");
  EXPECT_EQ(Call("PUT", "/v2/a/manifests/v1", ManifestOf("abc"), {{"Content-Type", "text/html"}}).status, 400);
  EXPECT_EQ(PutManifest("v1", std::string(kMaxManifestBytes + 1, ' ')).status, 413);
  EXPECT_EQ(ErrorCode(Get("/v2/a/manifests/v1")), "MANIFEST_UNKNOWN");
}

TEST_F(RegistryHttpTest, BrokenRepositoryNamesAreRefused) {
  for (const char* target : {"/v2/A/manifests/v1", "/v2/a/%2e%2e/manifests/v1", "/v2/a..b/tags/list"}) {
    const HttpAnswer answer = Get(target);
    EXPECT_EQ(answer.status, 400) << target;
    EXPECT_EQ(ErrorCode(answer), "NAME_INVALID") << target;
  }
}

// "Deleting Manifests", "Deleting tags".
TEST_F(RegistryHttpTest, TagsAndManifestsAreDeleted) {
  const std::string bytes = ManifestOf("abc"), digest = Sha256Digest(bytes);
  ASSERT_EQ(PutManifest("v1", bytes).status, 201);
  EXPECT_EQ(Call("DELETE", "/v2/a/manifests/v1").status, 202);
  EXPECT_EQ(Get("/v2/a/manifests/v1").status, 404);
  EXPECT_EQ(Get("/v2/a/manifests/" + digest).status, 200);
  EXPECT_EQ(Call("DELETE", "/v2/a/manifests/" + digest).status, 202);
  EXPECT_EQ(Get("/v2/a/manifests/" + digest).status, 404);
  EXPECT_EQ(Call("DELETE", "/v2/a/manifests/" + digest).status, 404);
  EXPECT_EQ(Call("DELETE", "/v2/a/blobs/" + kAbc).status, 405);
}

// "Content Discovery".
TEST_F(RegistryHttpTest, TagsAreListedInPages) {
  const std::string bytes = ManifestOf("abc");
  for (const char* tag : {"v1", "v2", "v3"}) ASSERT_EQ(PutManifest(tag, bytes).status, 201);
  const HttpAnswer all = Get("/v2/a/tags/list");
  EXPECT_EQ(Json::parse(all.body), Json::parse(R"({"name": "a", "tags": ["v1", "v2", "v3"]})"));
  EXPECT_EQ(all.headers.Get("Link"), "");
  const HttpAnswer page = Get("/v2/a/tags/list?n=2");
  EXPECT_EQ(Json::parse(page.body)["tags"], Json::parse(R"(["v1", "v2"])"));
  EXPECT_EQ(page.headers.Get("Link"), "</v2/a/tags/list?n=2&last=v2>; rel=\"next\"");
  EXPECT_EQ(Json::parse(Get("/v2/a/tags/list?n=2&last=v2").body)["tags"], Json::parse(R"(["v3"])"));
  EXPECT_EQ(Json::parse(Get("/v2/a/tags/list?n=0").body)["tags"], Json::array());
  EXPECT_EQ(Get("/v2/a/tags/list?n=many").status, 400);
  EXPECT_EQ(ErrorCode(Get("/v2/b/tags/list")), "NAME_UNKNOWN");
}

TEST_F(RegistryHttpTest, TheCatalogNamesRepositories) {
  ASSERT_EQ(PutManifest("v1", ManifestOf("abc")).status, 201);
  EXPECT_EQ(Json::parse(Get("/v2/_catalog").body), Json::parse(R"({"repositories": ["a"]})"));
}

TEST_F(RegistryHttpTest, AnythingElseIsAnsweredInTheStandardsForm) {
  EXPECT_EQ(Get("/v2/a/other").status, 404);
  EXPECT_EQ(Get("/").status, 404);
  EXPECT_EQ(ErrorCode(Call("PATCH", "/v2/a/manifests/v1", "x")), "UNSUPPORTED");
}

TEST_F(RegistryHttpTest, RequestsAreCountedByOperationAndStatus) {
  Get("/v2/a/blobs/" + kAbc);
  PutBlob("abc");
  const std::string metrics = prometheus::TextSerializer().Serialize(metrics_.Collect());
  EXPECT_THAT(metrics, AllOf(HasSubstr(R"(kd_registry_requests_total{code="404",operation="get_blob"} 1)"),
                             HasSubstr(R"(kd_registry_requests_total{code="201",operation="start_upload"} 1)"),
                             HasSubstr("kd_registry_received_blob_bytes_total 3")));
}

// Our own client, against our own server.
class RegistryRoundTripTest : public RegistryHttpTest {
 protected:
  Artifact ArtifactOf(const std::string& weights) {
    EXPECT_THAT(WriteFileAtomically(folder_ / "weights", weights), IsOk());
    EXPECT_THAT(WriteFileAtomically(folder_ / "card", "a model card"), IsOk());
    return {.artifact_type = std::string(kStudentArtifactType),
            .files = {{.name = "model.safetensors",
                       .media_type = "application/vnd.kdfleet.weights",
                       .path = folder_ / "weights"},
                      {.name = "README.md", .media_type = "text/markdown", .path = folder_ / "card"}},
            .annotations = {{"kd.teacher", "sha256:1"}}};
  }
  double ReceivedBytes() {
    for (const auto& family : metrics_.Collect()) {
      if (family.name == "kd_registry_received_blob_bytes_total") return family.metric[0].counter.value;
    }
    return -1;
  }

  RegistryClient client_{absl::StrCat("http://", server_->address())};
};

TEST_F(RegistryRoundTripTest, WhatIsPushedIsPulledByTagAndByDigest) {
  const std::string weights(3 << 20, 'w');
  const auto digest = client_.Push("students/a", "v1", ArtifactOf(weights));
  ASSERT_THAT(digest, IsOk());
  EXPECT_THAT(client_.Resolve("students/a", "v1"), IsOkAndHolds(*digest));
  for (const std::string& reference : {std::string("v1"), *digest}) {
    const TemporaryFolder target;
    const auto pulled = client_.Pull("students/a", reference, target / "new");
    ASSERT_THAT(pulled, IsOk());
    EXPECT_EQ(pulled->digest, *digest);
    EXPECT_EQ(pulled->artifact.artifact_type, kStudentArtifactType);
    EXPECT_EQ(pulled->artifact.annotations.at("kd.teacher"), "sha256:1");
    EXPECT_THAT(ReadFile(target / "new/model.safetensors"), IsOkAndHolds(weights));
    EXPECT_THAT(ReadFile(target / "new/README.md"), IsOkAndHolds("a model card"));
  }
  EXPECT_THAT(client_.Repositories(), IsOkAndHolds(ElementsAre("students/a")));
  EXPECT_THAT(client_.Tags("students/a"), IsOkAndHolds(ElementsAre("v1")));
}

TEST_F(RegistryRoundTripTest, TheSameArtifactHasTheSameDigestAndIsNotSentTwice) {
  const auto first = client_.Push("students/a", "v1", ArtifactOf("weights"));
  const double sent = ReceivedBytes();
  const auto second = client_.Push("students/b", "v2", ArtifactOf("weights"));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(ReceivedBytes(), sent);
}

TEST_F(RegistryRoundTripTest, ListsOverManyPages) {
  const std::string bytes = ManifestOf("abc");
  ASSERT_EQ(PutManifest("t0", bytes).status, 201);
  constexpr int kTags = 1003;
  for (int i = 1; i < kTags; ++i) {
    // Straight into the folder: a thousand pushes would sync for seconds.
    std::ofstream(folder_ / absl::StrCat("registry/repositories/a/tags/t", i, ".tag")) << Sha256Digest(bytes) << "\n";
  }
  const auto tags = client_.Tags("a");
  ASSERT_THAT(tags, IsOk());
  EXPECT_EQ(tags->size(), static_cast<size_t>(kTags));
}

TEST_F(RegistryRoundTripTest, ADamagedBlobIsRefusedAndHealsWithTheNextPush) {
  const Artifact artifact = ArtifactOf("weights");
  ASSERT_THAT(client_.Push("students/a", "v1", artifact), IsOk());
  std::ofstream(BlobPath(Sha256Digest("weights"))) << "wXights";
  const TemporaryFolder target;
  EXPECT_THAT(client_.Pull("students/a", "v1", target.path()),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr(Sha256Digest("weights"))));
  EXPECT_TRUE(std::filesystem::is_empty(target.path()));
  ASSERT_THAT(client_.Push("students/a", "v1", artifact), IsOk());
  EXPECT_THAT(client_.Pull("students/a", "v1", target.path()), IsOk());
}

TEST_F(RegistryRoundTripTest, WhatIsMissingIsNamed) {
  EXPECT_THAT(client_.Resolve("students/a", "v9"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("registry://students/a:v9")));
  EXPECT_THAT(client_.Tags("students/a"), StatusIs(absl::StatusCode::kNotFound, HasSubstr("students/a")));
}

}  // namespace
}  // namespace kd
