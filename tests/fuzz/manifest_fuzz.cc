#include "storage/registry/manifest.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes = kd::InputText(data, size);
  for (const absl::string_view type : {kd::kImageManifestType, kd::kImageIndexType}) {
    const auto manifest = kd::ParseManifest(bytes, type);
    if (!manifest.ok()) {
      kd::RequireRefusal(manifest.status(), {absl::StatusCode::kInvalidArgument});
      continue;
    }
    if (manifest->kind != kd::ManifestKind::kImage) continue;
    const std::string written = kd::ImageManifestJson(*manifest);
    const auto again = kd::ParseManifest(written, kd::kImageManifestType);
    kd::Require(again.ok() && kd::ImageManifestJson(*again) == written, "what was written reads the same");
  }
  return 0;
}
