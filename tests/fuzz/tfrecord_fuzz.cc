// As it comes, and once more with its checksums mended, which no fuzzer guesses.
#include <cstring>

#include "base/digest.h"
#include "data/tfrecord.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

void MendCrc(std::string& bytes, size_t begin, size_t count, size_t at) {
  const uint32_t crc = Crc32c(absl::string_view(bytes).substr(begin, count));
  const uint32_t masked = ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
  if (bytes.size() >= at + 4) std::memcpy(&bytes[at], &masked, 4);
}

std::string Mended(std::string bytes) {
  for (size_t at = 0; at + 16 <= bytes.size();) {
    uint64_t length;
    std::memcpy(&length, &bytes[at], 8);
    MendCrc(bytes, at, 8, at + 8);
    if (length > bytes.size() - at - 16) break;
    MendCrc(bytes, at + 12, length, at + 12 + length);
    at += 16 + length;
  }
  return bytes;
}

void ReadAll(const std::string& bytes) {
  const auto file = TfRecordFile::Open(WriteInput("a.tfrecord", bytes));
  if (!file.ok()) return RequireRefusal(file.status(), {absl::StatusCode::kDataLoss});
  size_t total = 0;
  for (size_t i = 0; i < file->records().size(); ++i) {
    total += 16 + file->records()[i].length;
    const auto payload = file->Read(i);
    if (!payload.ok()) {
      RequireRefusal(payload.status(), {absl::StatusCode::kDataLoss});
    } else {
      Require(*payload == bytes.substr(file->records()[i].offset, file->records()[i].length),
              "payloads are the file's");
    }
  }
  Require(total == bytes.size(), "records fill the file");
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = kd::InputText(data, size);
  kd::ReadAll(bytes);
  kd::ReadAll(kd::Mended(bytes));
  return 0;
}
