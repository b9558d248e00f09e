#include "server/coordinator/rendezvous_service.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/time/clock.h"
#include "base/grpc_status.h"
#include "kd/v1/coordinator.grpc.pb.h"

namespace kd {
namespace {

std::vector<std::string> KeysOf(const v1::StoreGetRequest& request) {
  return {request.keys().begin(), request.keys().end()};
}

class RendezvousServiceImpl : public v1::RendezvousStore::Service {
 public:
  RendezvousServiceImpl(Rendezvous& rendezvous, const RendezvousServiceOptions& options)
      : rendezvous_(rendezvous), options_(options) {}

  grpc::Status Set(grpc::ServerContext*, const v1::StoreSetRequest* request, v1::StoreSetResponse*) override {
    return ToGrpcStatus(rendezvous_.Set(request->key(), request->value()));
  }
  grpc::Status Get(grpc::ServerContext*, const v1::StoreGetRequest* request, v1::StoreGetResponse* response) override {
    const auto leave = absl::MakeCleanup([this] { --waits_; });
    const bool may_wait = ++waits_ <= options_.max_waits;
    const absl::Duration wait = std::min(absl::Milliseconds(request->wait_ms()), options_.longest_wait);
    absl::StatusOr<std::vector<std::string>> values =
        rendezvous_.Get(KeysOf(*request), may_wait ? absl::Now() + wait : absl::InfinitePast());
    if (!values.ok()) return ToGrpcStatus(values.status());
    for (std::string& value : *values) response->add_values(std::move(value));
    return grpc::Status::OK;
  }
  grpc::Status Add(grpc::ServerContext*, const v1::StoreAddRequest* request, v1::StoreAddResponse* response) override {
    const absl::StatusOr<int64_t> sum = rendezvous_.Add(request->key(), request->amount());
    if (sum.ok()) response->set_value(*sum);
    return ToGrpcStatus(sum.status());
  }
  grpc::Status CompareSet(grpc::ServerContext*, const v1::StoreCompareSetRequest* request,
                          v1::StoreGetResponse* response) override {
    absl::StatusOr<std::string> value = rendezvous_.CompareSet(request->key(), request->expected(), request->desired());
    if (value.ok()) response->add_values(*std::move(value));
    return ToGrpcStatus(value.status());
  }
  grpc::Status Check(grpc::ServerContext*, const v1::StoreGetRequest* request,
                     v1::StoreCheckResponse* response) override {
    const absl::StatusOr<bool> present = rendezvous_.Check(KeysOf(*request));
    if (present.ok()) response->set_present(*present);
    return ToGrpcStatus(present.status());
  }
  grpc::Status Delete(grpc::ServerContext*, const v1::StoreGetRequest* request,
                      v1::StoreDeleteResponse* response) override {
    bool deleted = false;
    for (const std::string& key : request->keys()) {
      const absl::StatusOr<bool> existed = rendezvous_.Delete(key);
      if (!existed.ok()) return ToGrpcStatus(existed.status());
      deleted |= *existed;
    }
    response->set_deleted(deleted);
    return grpc::Status::OK;
  }

 private:
  Rendezvous& rendezvous_;
  const RendezvousServiceOptions options_;
  std::atomic<int> waits_ = 0;
};

}  // namespace

std::unique_ptr<grpc::Service> NewRendezvousService(Rendezvous& rendezvous, const RendezvousServiceOptions& options) {
  return std::make_unique<RendezvousServiceImpl>(rendezvous, options);
}

}  // namespace kd
