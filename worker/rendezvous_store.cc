#include "worker/rendezvous_store.h"

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace kd {
namespace {

template <typename T>
T ValueOrThrow(absl::StatusOr<T> result, absl::string_view asked, const std::string& key) {
  if (!result.ok()) throw StatusException(Annotate(result.status(), absl::StrCat(asked, " \"", key, "\"")));
  return *std::move(result);
}

std::string ToString(const std::vector<uint8_t>& bytes) { return {bytes.begin(), bytes.end()}; }
std::vector<uint8_t> ToBytes(const std::string& text) { return {text.begin(), text.end()}; }

class RendezvousStore : public c10d::Store {
 public:
  RendezvousStore(Rendezvous& rendezvous, std::string prefix, std::chrono::milliseconds timeout)
      : c10d::Store(timeout), rendezvous_(rendezvous), prefix_(std::move(prefix)) {}

  c10::intrusive_ptr<Store> clone() override {
    return c10::make_intrusive<RendezvousStore>(rendezvous_, prefix_, timeout_);
  }
  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    if (const absl::Status status = rendezvous_.Set(prefix_ + key, ToString(value)); !status.ok()) {
      throw StatusException(Annotate(status, absl::StrCat("setting \"", key, "\"")));
    }
  }
  std::vector<uint8_t> compareSet(const std::string& key, const std::vector<uint8_t>& expected,
                                  const std::vector<uint8_t>& desired) override {
    return ToBytes(ValueOrThrow(rendezvous_.CompareSet(prefix_ + key, ToString(expected), ToString(desired)),
                                "comparing and setting", key));
  }
  std::vector<uint8_t> get(const std::string& key) override {
    return ToBytes(
        ValueOrThrow(rendezvous_.Get({prefix_ + key}, absl::Now() + absl::FromChrono(timeout_)), "getting", key)[0]);
  }
  int64_t add(const std::string& key, int64_t value) override {
    return ValueOrThrow(rendezvous_.Add(prefix_ + key, value), "adding to", key);
  }
  bool deleteKey(const std::string& key) override {
    return ValueOrThrow(rendezvous_.Delete(prefix_ + key), "deleting", key);
  }
  bool check(const std::vector<std::string>& keys) override {
    return ValueOrThrow(rendezvous_.Check(Prefixed(keys)), "looking for", First(keys));
  }
  int64_t getNumKeys() override {
    throw StatusException(absl::UnimplementedError("a rendezvous does not count its keys"));
  }
  void wait(const std::vector<std::string>& keys) override { wait(keys, timeout_); }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds& timeout) override {
    ValueOrThrow(rendezvous_.Get(Prefixed(keys), absl::Now() + absl::FromChrono(timeout)), "waiting for", First(keys));
  }

 private:
  std::vector<std::string> Prefixed(const std::vector<std::string>& keys) const {
    std::vector<std::string> prefixed;
    for (const std::string& key : keys) prefixed.push_back(prefix_ + key);
    return prefixed;
  }
  static std::string First(const std::vector<std::string>& keys) { return keys.empty() ? "" : keys.front(); }

  Rendezvous& rendezvous_;
  const std::string prefix_;
};

}  // namespace

c10::intrusive_ptr<c10d::Store> NewRendezvousStore(Rendezvous& rendezvous, const std::string& prefix,
                                                   absl::Duration timeout) {
  return c10::make_intrusive<RendezvousStore>(rendezvous, prefix, absl::ToChronoMilliseconds(timeout));
}

}  // namespace kd
