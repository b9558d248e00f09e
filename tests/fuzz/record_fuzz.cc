// Response records, as they come and with the checksum mended.
#include <cstring>
#include <memory>

#include "base/digest.h"
#include "core/record.h"
#include "storage/memory/memory_response_store.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

void Mend(std::string& bytes) {
  uint32_t head;
  uint64_t payload;
  if (bytes.size() < 16) return;
  std::memcpy(&head, &bytes[0], 4);
  std::memcpy(&payload, &bytes[4], 8);
  const uint64_t room = bytes.size() - 16;
  if (head > room || payload > room - head) return;
  const uint32_t crc = Crc32c(absl::string_view(bytes).substr(0, 12 + head + payload));
  std::memcpy(&bytes[12 + head + payload], &crc, 4);
}

void ReadRecord(const std::string& bytes) {
  const auto view = ParseRecord(bytes);
  const auto record = DecodeRecord(bytes);
  if (!view.ok()) {
    RequireRefusal(view.status(), {absl::StatusCode::kDataLoss});
    Require(!record.ok(), "what cannot be parsed is not decoded");
  } else {
    Require(view->size <= bytes.size() && view->payload.size() < view->size, "a record lies within its bytes");
    v1::ResponsePlan::Item item;
    item.set_tensor(view->header.tensor());
    item.set_selection(view->header.selection());
    item.set_top_k(view->header.top_k());
    item.set_dtype(view->header.dtype());
    Require(Covers(view->header, item), "a record answers what it was made for");
  }
  if (!record.ok()) RequireRefusal(record.status(), {absl::StatusCode::kDataLoss});
  const auto store = NewMemoryResponseStore(1 << 20);
  if (store->Insert("key", std::make_shared<const std::string>(bytes)).ok()) {
    const auto kept = store->Lookup("key");
    Require(!kept.ok() || **kept == bytes, "a store gives back what it was given");
  }
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes = kd::InputText(data, size);
  kd::ReadRecord(bytes);
  kd::Mend(bytes);
  kd::ReadRecord(bytes);
  return 0;
}
