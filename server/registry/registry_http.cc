#include "server/registry/registry_http.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "core/registry_reference.h"
#include "nlohmann/json.hpp"
#include "prometheus/counter.h"
#include "server/registry/registry_error.h"
#include "server/registry/registry_route.h"
#include "storage/blobs/blob_digest.h"
#include "storage/registry/manifest.h"

namespace kd {
namespace {

HttpResponse JsonResponse(const nlohmann::json& document) {
  return {.headers = {{"Content-Type", "application/json"}}, .body = document.dump()};
}

absl::StatusOr<std::string> QueryOf(const HttpRequest& request, const std::string& name) {
  const auto found = request.query.find(name);
  if (found == request.query.end()) return absl::NotFoundError(absl::StrCat("the query has no \"", name, "\""));
  return found->second;
}

absl::Status CheckDigest(absl::string_view digest) {
  if (IsDigest(digest)) return absl::OkStatus();
  return WithOciCode(absl::InvalidArgumentError(
                         absl::StrCat("digest \"", absl::CEscape(digest),
                                      "\" must be sha256: and 64, or sha512: and 128, lower-case hexadecimal digits")),
                     "DIGEST_INVALID");
}

absl::StatusOr<NameRange> NameRangeOf(const HttpRequest& request) {
  NameRange range;
  const absl::StatusOr<std::string> limit = QueryOf(request, "n"), last = QueryOf(request, "last");
  if (last.ok()) range.last = *last;
  if (!limit.ok()) return range;
  uint32_t number = 0;
  if (!absl::SimpleAtoi(*limit, &number)) {
    return WithOciCode(absl::InvalidArgumentError(
                           absl::StrCat("n=", absl::CEscape(*limit), " must be a whole number, for example n=100")),
                       "PAGINATION_NUMBER_INVALID");
  }
  range.limit = std::min<size_t>(range.limit, number);
  return range;
}

void AddNextLink(const std::string& path, const NameRange& range, const NamePage& page, HttpResponse& response) {
  if (!page.more || page.names.empty()) return;
  response.headers.Set("Link", absl::StrCat("<", path, "?n=", range.limit, "&last=", PercentEncode(page.names.back()),
                                            ">; rel=\"next\""));
}

// Where a chunk says that it belongs, "FIRST-LAST". OUT_OF_RANGE: not behind what is there.
absl::Status CheckChunk(const HttpRequest& request, const BlobUpload& upload) {
  absl::string_view text = request.headers.Get("Content-Range");
  if (text.empty()) return absl::OkStatus();
  absl::ConsumePrefix(&text, "bytes ");
  uint64_t first = 0, last = 0;
  const size_t dash = text.find('-');
  if (dash == absl::string_view::npos || !absl::SimpleAtoi(text.substr(0, dash), &first) ||
      !absl::SimpleAtoi(text.substr(dash + 1), &last) || last < first) {
    return WithOciCode(absl::InvalidArgumentError(absl::StrCat("Content-Range \"", absl::CEscape(text),
                                                               "\" must be FIRST-LAST, for example 0-1023")),
                       "BLOB_UPLOAD_INVALID");
  }
  if (first != upload.size()) {
    return WithOciCode(absl::OutOfRangeError(absl::StrCat("the chunk begins at byte ", first, " but ", upload.size(),
                                                          " bytes are here; continue there")),
                       "BLOB_UPLOAD_INVALID");
  }
  if (request.content_length && *request.content_length != last - first + 1) {
    return WithOciCode(absl::InvalidArgumentError(absl::StrCat("Content-Range ", text, " and Content-Length ",
                                                               *request.content_length, " disagree")),
                       "SIZE_INVALID");
  }
  return absl::OkStatus();
}

void DescribeUpload(const std::string& repository, const std::string& name, uint64_t size, HttpResponse& response) {
  response.headers.Set("Location", absl::StrCat("/v2/", repository, "/blobs/uploads/", name));
  response.headers.Set("Range", absl::StrCat("0-", size == 0 ? 0 : size - 1));
  response.headers.Set("Docker-Upload-UUID", name);
}

HttpResponse CreatedBlob(const std::string& repository, const std::string& digest) {
  return {.status = 201,
          .headers = {{"Location", absl::StrCat("/v2/", repository, "/blobs/", digest)},
                      {"Docker-Content-Digest", digest}}};
}

// Streams a request's body behind an upload; `finish` then answers, unless something failed before.
class UploadExchange : public HttpExchange {
 public:
  enum class OnBreak {
    kTakeBack,  // the upload is as before this request
    kDiscard,   // the upload began with this request and ends with it
  };

  UploadExchange(std::unique_ptr<BlobUpload> upload, OnBreak on_break, prometheus::Counter& received_bytes,
                 std::function<HttpResponse(BlobUpload&)> finish)
      : upload_(std::move(upload)), on_break_(on_break), received_bytes_(received_bytes), finish_(std::move(finish)) {}

  ~UploadExchange() override {
    // Nobody is left to tell of a failure; the upload then counts as abandoned.
    if (!done_ && on_break_ == OnBreak::kDiscard) upload_->Discard().IgnoreError();
  }

  absl::Status Write(absl::string_view piece) override {
    failure_ = upload_->Append(piece);
    if (failure_.ok()) received_bytes_.Increment(static_cast<double>(piece.size()));
    return failure_;
  }

  HttpResponse Finish() override {
    if (!failure_.ok()) return ErrorResponse(failure_);
    done_ = true;
    return finish_(*upload_);
  }

 private:
  const std::unique_ptr<BlobUpload> upload_;
  const OnBreak on_break_;
  prometheus::Counter& received_bytes_;
  const std::function<HttpResponse(BlobUpload&)> finish_;
  absl::Status failure_;
  bool done_ = false;
};

// Counts the answer of another exchange.
class CountedExchange : public HttpExchange {
 public:
  CountedExchange(std::unique_ptr<HttpExchange> exchange, std::string operation,
                  prometheus::Family<prometheus::Counter>& requests)
      : exchange_(std::move(exchange)), operation_(std::move(operation)), requests_(requests) {}

  bool WantsBody() const override { return exchange_->WantsBody(); }
  absl::Status Write(absl::string_view piece) override { return exchange_->Write(piece); }
  HttpResponse Finish() override {
    HttpResponse response = exchange_->Finish();
    requests_.Add({{"operation", operation_}, {"code", absl::StrCat(response.status)}}).Increment();
    return response;
  }

 private:
  const std::unique_ptr<HttpExchange> exchange_;
  const std::string operation_;
  prometheus::Family<prometheus::Counter>& requests_;
};

class RegistryHttp {
 public:
  RegistryHttp(Registry& registry, prometheus::Registry& metrics)
      : registry_(registry),
        requests_(prometheus::BuildCounter()
                      .Name("kd_registry_requests_total")
                      .Help("Requests answered, by operation and HTTP status.")
                      .Register(metrics)),
        received_bytes_(prometheus::BuildCounter()
                            .Name("kd_registry_received_blob_bytes_total")
                            .Help("Bytes of blobs taken from clients.")
                            .Register(metrics)
                            .Add({})),
        damaged_blobs_(prometheus::BuildCounter()
                           .Name("kd_registry_damaged_blobs_total")
                           .Help("Reads that found a blob or manifest damaged or lost on the disk.")
                           .Register(metrics)
                           .Add({})) {}

  std::unique_ptr<HttpExchange> Handle(const HttpRequest& request) {
    const absl::StatusOr<RegistryRoute> route = ParseRegistryRoute(request.path);
    if (!route.ok()) return Counted("other", Refuse(route.status()));
    const bool reads = request.method == "GET" || request.method == "HEAD";
    switch (route->resource) {
      case RegistryResource::kRoot:
        if (reads) return Counted("root", Answer(Root()));
        break;
      case RegistryResource::kCatalog:
        if (reads) return Counted("catalog", Respond(Catalog(request)));
        break;
      case RegistryResource::kTags:
        if (reads) return Counted("tags", Respond(Tags(*route, request)));
        break;
      case RegistryResource::kManifest:
        if (reads) return Counted("get_manifest", Respond(GetManifest(*route)));
        if (request.method == "PUT") return Counted("put_manifest", PutManifest(*route, request));
        if (request.method == "DELETE") return Counted("delete_manifest", Respond(DeleteManifest(*route)));
        break;
      case RegistryResource::kBlob:
        if (reads) return Counted("get_blob", Respond(GetBlob(*route)));
        break;
      case RegistryResource::kUploads:
        if (request.method == "POST") return Counted("start_upload", OrRefuse(StartUpload(*route, request)));
        break;
      case RegistryResource::kUpload:
        if (reads) return Counted("get_upload", Respond(GetUpload(*route)));
        if (request.method == "PATCH") return Counted("append_upload", OrRefuse(AppendUpload(*route, request)));
        if (request.method == "PUT") return Counted("commit_upload", OrRefuse(CommitUpload(*route, request)));
        if (request.method == "DELETE") return Counted("cancel_upload", Respond(CancelUpload(*route)));
        break;
    }
    return Counted("other", Refuse(absl::UnimplementedError(
                                absl::StrCat(absl::CEscape(request.method), " is not served under this path"))));
  }

 private:
  static std::unique_ptr<HttpExchange> Refuse(const absl::Status& status) { return Answer(ErrorResponse(status)); }
  static std::unique_ptr<HttpExchange> Respond(absl::StatusOr<HttpResponse> response) {
    return response.ok() ? Answer(*std::move(response)) : Refuse(response.status());
  }
  static std::unique_ptr<HttpExchange> OrRefuse(absl::StatusOr<std::unique_ptr<HttpExchange>> exchange) {
    return exchange.ok() ? *std::move(exchange) : Refuse(exchange.status());
  }
  std::unique_ptr<HttpExchange> Counted(std::string operation, std::unique_ptr<HttpExchange> exchange) {
    return std::make_unique<CountedExchange>(std::move(exchange), std::move(operation), requests_);
  }

  static HttpResponse Root() {
    HttpResponse response = JsonResponse(nlohmann::json::object());
    response.headers.Set("Docker-Distribution-API-Version", "registry/2.0");
    return response;
  }

  absl::StatusOr<HttpResponse> Catalog(const HttpRequest& request) {
    KD_ASSIGN_OR_RETURN(const NameRange range, NameRangeOf(request));
    KD_ASSIGN_OR_RETURN(const NamePage page, registry_.Repositories(range));
    HttpResponse response = JsonResponse({{"repositories", page.names}});
    AddNextLink(request.path, range, page, response);
    return response;
  }

  absl::StatusOr<HttpResponse> Tags(const RegistryRoute& route, const HttpRequest& request) {
    KD_ASSIGN_OR_RETURN(const NameRange range, NameRangeOf(request));
    KD_ASSIGN_OR_RETURN(const NamePage page, registry_.Tags(route.repository, range));
    HttpResponse response = JsonResponse({{"name", route.repository}, {"tags", page.names}});
    AddNextLink(request.path, range, page, response);
    return response;
  }

  absl::StatusOr<HttpResponse> GetManifest(const RegistryRoute& route) {
    absl::StatusOr<StoredManifest> manifest = registry_.GetManifest(route.repository, route.reference);
    if (absl::IsDataLoss(manifest.status())) damaged_blobs_.Increment();
    if (!manifest.ok()) return manifest.status();
    return HttpResponse{
        .headers = {{"Content-Type", manifest->media_type}, {"Docker-Content-Digest", manifest->digest}},
        .body = std::move(manifest->bytes)};
  }

  std::unique_ptr<HttpExchange> PutManifest(const RegistryRoute& route, const HttpRequest& request) {
    HttpResponse too_large =
        ErrorResponse(WithOciCode(absl::InvalidArgumentError(absl::StrCat("a manifest has at most ", kMaxManifestBytes,
                                                                          " bytes; split it into an index of several")),
                                  "SIZE_INVALID"));
    too_large.status = 413;
    if (request.content_length.value_or(0) > kMaxManifestBytes) return Answer(std::move(too_large));
    const std::string media_type(request.headers.Get("Content-Type"));
    return CollectBody(kMaxManifestBytes, std::move(too_large), [this, route, media_type](const std::string& bytes) {
      const absl::StatusOr<std::string> digest =
          registry_.PutManifest(route.repository, route.reference, media_type, bytes);
      if (!digest.ok()) return ErrorResponse(digest.status());
      return HttpResponse{.status = 201,
                          .headers = {{"Location", absl::StrCat("/v2/", route.repository, "/manifests/", *digest)},
                                      {"Docker-Content-Digest", *digest}}};
    });
  }

  absl::StatusOr<HttpResponse> DeleteManifest(const RegistryRoute& route) {
    KD_RETURN_IF_ERROR(registry_.DeleteManifest(route.repository, route.reference));
    return HttpResponse{.status = 202};
  }

  absl::StatusOr<HttpResponse> GetBlob(const RegistryRoute& route) {
    const std::string& digest = route.reference;
    KD_RETURN_IF_ERROR(CheckDigest(digest));
    const auto blob = registry_.blobs().Find(digest);
    if (!blob.ok()) return WithOciCode(blob.status(), "BLOB_UNKNOWN");
    const auto digester = std::make_shared<BlobDigester>(digest);
    const auto check = [this, digest, digester](absl::string_view piece, uint64_t remaining) -> absl::Status {
      digester->Update(piece);
      if (remaining > 0 || digester->Finish() == digest) return absl::OkStatus();
      damaged_blobs_.Increment();
      registry_.blobs().MoveAside(digest);
      return absl::DataLossError(absl::StrCat("the bytes of ", digest, " on the disk are damaged"));
    };
    return HttpResponse{.headers = {{"Content-Type", "application/octet-stream"}, {"Docker-Content-Digest", digest}},
                        .file = HttpFile{.path = blob->path, .check = check}};
  }

  absl::StatusOr<std::unique_ptr<HttpExchange>> StartUpload(const RegistryRoute& route, const HttpRequest& request) {
    const absl::StatusOr<std::string> mount = QueryOf(request, "mount"), digest = QueryOf(request, "digest");
    if (mount.ok() && IsDigest(*mount) && registry_.blobs().Find(*mount).ok())
      return Answer(CreatedBlob(route.repository, *mount));
    if (digest.ok()) KD_RETURN_IF_ERROR(CheckDigest(*digest));
    KD_ASSIGN_OR_RETURN(const std::string name, registry_.blobs().StartUpload());
    if (!digest.ok()) {
      HttpResponse response{.status = 202};
      DescribeUpload(route.repository, name, 0, response);
      return Answer(std::move(response));
    }
    KD_ASSIGN_OR_RETURN(std::unique_ptr<BlobUpload> upload, registry_.blobs().OpenUpload(name));
    return Commits(std::move(upload), UploadExchange::OnBreak::kDiscard, route.repository, *digest);
  }

  absl::StatusOr<std::unique_ptr<BlobUpload>> Claim(const RegistryRoute& route) {
    absl::StatusOr<std::unique_ptr<BlobUpload>> upload = registry_.blobs().OpenUpload(route.reference);
    if (!upload.ok())
      return WithOciCode(upload.status(),
                         absl::IsNotFound(upload.status()) ? "BLOB_UPLOAD_UNKNOWN" : "BLOB_UPLOAD_INVALID");
    return upload;
  }

  // Claims an upload for the body of `request`; OK with no upload: `refusal` answers.
  absl::StatusOr<std::unique_ptr<BlobUpload>> ClaimForChunk(const RegistryRoute& route, const HttpRequest& request,
                                                            std::optional<HttpResponse>& refusal) {
    KD_ASSIGN_OR_RETURN(std::unique_ptr<BlobUpload> upload, Claim(route));
    const absl::Status in_order = CheckChunk(request, *upload);
    if (in_order.ok()) return upload;
    refusal = ErrorResponse(in_order);
    DescribeUpload(route.repository, route.reference, upload->size(), *refusal);
    return nullptr;
  }

  absl::StatusOr<std::unique_ptr<HttpExchange>> AppendUpload(const RegistryRoute& route, const HttpRequest& request) {
    std::optional<HttpResponse> refusal;
    KD_ASSIGN_OR_RETURN(std::unique_ptr<BlobUpload> upload, ClaimForChunk(route, request, refusal));
    if (refusal) return Answer(*std::move(refusal));
    return std::make_unique<UploadExchange>(
        std::move(upload), UploadExchange::OnBreak::kTakeBack, received_bytes_, [route](BlobUpload& upload) {
          const absl::Status kept = upload.Keep();
          if (!kept.ok()) return ErrorResponse(kept);
          HttpResponse response{.status = 202};
          DescribeUpload(route.repository, route.reference, upload.size(), response);
          return response;
        });
  }

  absl::StatusOr<std::unique_ptr<HttpExchange>> CommitUpload(const RegistryRoute& route, const HttpRequest& request) {
    const std::string digest = QueryOf(request, "digest").value_or("");
    KD_RETURN_IF_ERROR(CheckDigest(digest));
    std::optional<HttpResponse> refusal;
    KD_ASSIGN_OR_RETURN(std::unique_ptr<BlobUpload> upload, ClaimForChunk(route, request, refusal));
    if (refusal) return Answer(*std::move(refusal));
    return Commits(std::move(upload), UploadExchange::OnBreak::kTakeBack, route.repository, digest);
  }

  std::unique_ptr<HttpExchange> Commits(std::unique_ptr<BlobUpload> upload, UploadExchange::OnBreak on_break,
                                        const std::string& repository, const std::string& digest) {
    return std::make_unique<UploadExchange>(
        std::move(upload), on_break, received_bytes_, [repository, digest](BlobUpload& upload) {
          const absl::Status stored = upload.Commit(digest);
          return stored.ok() ? CreatedBlob(repository, digest) : ErrorResponse(WithOciCode(stored, "DIGEST_INVALID"));
        });
  }

  absl::StatusOr<HttpResponse> GetUpload(const RegistryRoute& route) {
    KD_ASSIGN_OR_RETURN(const std::unique_ptr<BlobUpload> upload, Claim(route));
    HttpResponse response{.status = 204};
    DescribeUpload(route.repository, route.reference, upload->size(), response);
    return response;
  }

  absl::StatusOr<HttpResponse> CancelUpload(const RegistryRoute& route) {
    KD_ASSIGN_OR_RETURN(const std::unique_ptr<BlobUpload> upload, Claim(route));
    KD_RETURN_IF_ERROR(upload->Discard());
    return HttpResponse{.status = 204};
  }

  Registry& registry_;
  prometheus::Family<prometheus::Counter>& requests_;
  prometheus::Counter& received_bytes_;
  prometheus::Counter& damaged_blobs_;
};

}  // namespace

HttpHandler NewRegistryHandler(Registry& registry, prometheus::Registry& metrics) {
  const auto http = std::make_shared<RegistryHttp>(registry, metrics);
  return [http](const HttpRequest& request) { return http->Handle(request); };
}

}  // namespace kd
