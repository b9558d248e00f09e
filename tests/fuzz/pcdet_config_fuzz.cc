// An OpenPCDet configuration and the file that its data section is based on.
#include "core/pcdet_config.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> parts = kd::InputParts(data, size, 2);
  kd::MakeInputFolders({"cfgs"});
  kd::WriteInput("cfgs/data.yaml", parts[1]);
  const auto detector = kd::ReadPcdetConfig(kd::WriteInput("cfgs/model.yaml", parts[0]), "MODEL");
  if (!detector.ok())
    kd::RequireRefusal(detector.status(), {absl::StatusCode::kInvalidArgument, absl::StatusCode::kNotFound});
  return 0;
}
