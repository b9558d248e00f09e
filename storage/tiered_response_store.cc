#include "storage/tiered_response_store.h"

#include <utility>

namespace kd {
namespace {

class TieredResponseStore : public ResponseStore {
 public:
  TieredResponseStore(ResponseStore& fast, ResponseStore& slow) : fast_(fast), slow_(slow) {}

  absl::StatusOr<std::shared_ptr<const std::string>> Lookup(absl::string_view key) override {
    if (auto record = fast_.Lookup(key); record.ok()) return record;
    auto record = slow_.Lookup(key);
    if (record.ok()) fast_.Insert(key, *record).IgnoreError();
    return record;
  }

  absl::Status Insert(absl::string_view key, std::shared_ptr<const std::string> record) override {
    fast_.Insert(key, record).IgnoreError();
    return slow_.Insert(key, std::move(record));
  }

  ResponseStoreStats stats() const override { return slow_.stats(); }

 private:
  ResponseStore& fast_;
  ResponseStore& slow_;
};

}  // namespace

std::unique_ptr<ResponseStore> NewTieredResponseStore(ResponseStore& fast, ResponseStore& slow) {
  return std::make_unique<TieredResponseStore>(fast, slow);
}

}  // namespace kd
