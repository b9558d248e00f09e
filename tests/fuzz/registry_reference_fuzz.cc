#include "core/registry_reference.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto reference = kd::ParseRegistryReference(kd::InputText(data, size));
  if (!reference.ok()) {
    kd::RequireRefusal(reference.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  kd::Require(kd::IsRepositoryName(reference->repository), "the repository's name is one");
  kd::Require(kd::IsTag(reference->reference) || kd::IsDigest(reference->reference),
              "the reference is a tag or a digest");
  const auto again = kd::ParseRegistryReference(reference->ToString());
  kd::Require(again.ok() && again->ToString() == reference->ToString(), "what was written reads the same");
  return 0;
}
