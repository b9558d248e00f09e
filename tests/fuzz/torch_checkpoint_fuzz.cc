// Weights files as they come, those of torch before 1.6 among them, and archives around "pickle%%%%storage": no fuzzer
// mends the checksums of a zip.
#include "absl/strings/str_cat.h"
#include "core/torch_checkpoint.h"
#include "core/zip_archive.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

void ReadWeights(const std::string& bytes) {
  const auto checkpoint = ParseWeights(bytes);
  if (!checkpoint.ok()) return RequireRefusal(checkpoint.status(), {absl::StatusCode::kInvalidArgument});
  size_t total = 0;
  for (const auto& [name, tensor] : checkpoint->weights.tensors) {
    size_t size = SafeTensorElementSize(tensor.dtype);
    for (const int64_t extent : tensor.shape) size *= static_cast<size_t>(extent);
    Require(size == tensor.bytes.size(), "a tensor has the bytes of its shape");
    total += size;
  }
  Require(total <= std::max<size_t>(4 * bytes.size(), 1 << 20), "tensors are no larger than the header promises");
  const auto again = ParseSafeTensors(SerializeSafeTensors(checkpoint->weights));
  Require(again.ok() && again->tensors.size() == checkpoint->weights.tensors.size(),
          "weights can be written as safetensors");
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kd::ReadWeights(kd::InputText(data, size));
  const std::vector<std::string> parts = kd::InputParts(data, size, 2);
  const auto zip = kd::WriteZip({{"a/data.pkl", parts[0]}, {"a/data/0", parts[1]}});
  kd::Require(zip.ok(), "an archive can be written");
  kd::ReadWeights(*zip);
  return 0;
}
