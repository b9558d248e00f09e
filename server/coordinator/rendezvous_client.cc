#include "server/coordinator/rendezvous_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/grpc_channel.h"
#include "base/grpc_status.h"
#include "base/status.h"
#include "kd/v1/coordinator.grpc.pb.h"

namespace kd {
namespace {

constexpr absl::Duration kAttempt = absl::Seconds(10);
constexpr absl::Duration kPause = absl::Milliseconds(100);

// Nobody answered, or a coordinator that stops, which cancels what it has begun.
bool IsSilence(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status);
}

}  // namespace

struct RendezvousClient::Impl {
  using Stub = v1::RendezvousStore::Stub;

  Impl(const std::string& where, absl::Duration how_long)
      : address(where), patience(how_long), stub(v1::RendezvousStore::NewStub(NewGrpcChannel(where))) {}

  template <typename Request, typename Response>
  absl::StatusOr<Response> Once(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kAttempt));
    Response response;
    KD_RETURN_IF_ERROR(FromGrpcStatus((stub.get()->*method)(&context, request, &response)));
    return response;
  }

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                                const Request& request, absl::Duration how_long) {
    const absl::Time start = absl::Now();
    while (true) {
      absl::StatusOr<Response> response = Once(method, request);
      if (!IsSilence(response.status())) return response;
      const absl::Duration waited = absl::Now() - start;
      if (waited >= how_long) {
        return absl::UnavailableError(absl::StrCat("the coordinator at ", address, " has not answered for ",
                                                   absl::FormatDuration(absl::Trunc(waited, absl::Milliseconds(1))),
                                                   ": ", response.status().message()));
      }
      absl::SleepFor(std::min(how_long - waited, kPause));
    }
  }

  const std::string address;
  const absl::Duration patience;
  const std::unique_ptr<Stub> stub;
};

RendezvousClient::RendezvousClient(const std::string& address, absl::Duration patience)
    : impl_(std::make_unique<Impl>(address, patience)) {}
RendezvousClient::~RendezvousClient() = default;

absl::Status RendezvousClient::Set(const std::string& key, const std::string& value) {
  v1::StoreSetRequest request;
  request.set_key(key);
  request.set_value(value);
  return impl_->Call(&Impl::Stub::Set, request, impl_->patience).status();
}

absl::StatusOr<std::vector<std::string>> RendezvousClient::Get(const std::vector<std::string>& keys,
                                                               absl::Time deadline) {
  v1::StoreGetRequest request;
  *request.mutable_keys() = {keys.begin(), keys.end()};
  const absl::Time start = absl::Now();
  while (true) {
    const absl::Duration left = std::max(deadline - absl::Now(), absl::ZeroDuration());
    // The server waits for a shorter time than an attempt may last; a DEADLINE_EXCEEDED is its own and names the keys.
    request.set_wait_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(std::min(left, kAttempt / 2))));
    absl::StatusOr<v1::StoreGetResponse> response = impl_->Once(&Impl::Stub::Get, request);
    if (response.ok()) return std::vector<std::string>(response->values().begin(), response->values().end());
    if (!IsSilence(response.status())) return response.status();
    if (left == absl::ZeroDuration()) {
      return Annotate(
          response.status(),
          absl::StrCat("waited ", absl::FormatDuration(absl::Trunc(absl::Now() - start, absl::Milliseconds(1)))));
    }
    absl::SleepFor(std::clamp(deadline - absl::Now(), absl::ZeroDuration(), kPause));
  }
}

absl::StatusOr<int64_t> RendezvousClient::Add(const std::string& key, int64_t amount) {
  v1::StoreAddRequest request;
  request.set_key(key);
  request.set_amount(amount);
  KD_ASSIGN_OR_RETURN(const v1::StoreAddResponse response, impl_->Once(&Impl::Stub::Add, request));
  return response.value();
}

absl::StatusOr<std::string> RendezvousClient::CompareSet(const std::string& key, const std::string& expected,
                                                         const std::string& desired) {
  v1::StoreCompareSetRequest request;
  request.set_key(key);
  request.set_expected(expected);
  request.set_desired(desired);
  KD_ASSIGN_OR_RETURN(const v1::StoreGetResponse response,
                      impl_->Call(&Impl::Stub::CompareSet, request, impl_->patience));
  return response.values_size() > 0 ? response.values(0) : "";
}

absl::StatusOr<bool> RendezvousClient::Check(const std::vector<std::string>& keys) {
  v1::StoreGetRequest request;
  *request.mutable_keys() = {keys.begin(), keys.end()};
  KD_ASSIGN_OR_RETURN(const v1::StoreCheckResponse response, impl_->Call(&Impl::Stub::Check, request, impl_->patience));
  return response.present();
}

absl::StatusOr<bool> RendezvousClient::Delete(const std::string& key) {
  v1::StoreGetRequest request;
  request.add_keys(key);
  KD_ASSIGN_OR_RETURN(const v1::StoreDeleteResponse response,
                      impl_->Call(&Impl::Stub::Delete, request, impl_->patience));
  return response.deleted();
}

}  // namespace kd
