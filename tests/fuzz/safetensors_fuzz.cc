#include "core/detector_config.h"
#include "core/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // As a whole file, and as the detector message of one.
  const std::string bytes = kd::InputText(data, size);
  kd::SafeTensorsFile described;
  described.metadata[kd::kWeightsDetectorKey] = bytes;
  const auto detector = kd::DetectorOf(described);
  if (!detector.ok()) {
    kd::RequireRefusal(detector.status(), {absl::StatusCode::kInvalidArgument});
  } else {
    kd::Require(kd::FeatureMapStride(*detector) > 0, "a valid detector has a stride");
    for (const int cells : kd::GridCells(*detector)) kd::Require(cells > 0, "a valid detector has a grid");
    const auto student = kd::MakeStudentDetector(*detector, {});
    if (!student.ok()) kd::RequireRefusal(student.status(), {absl::StatusCode::kInvalidArgument});
  }
  const auto file = kd::ParseSafeTensors(bytes);
  if (!file.ok()) {
    kd::RequireRefusal(file.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  for (const auto& [name, tensor] : file->tensors) {
    kd::Require(tensor.bytes.size() % kd::SafeTensorElementSize(tensor.dtype) == 0, "tensors are whole");
  }
  const std::string again = kd::SerializeSafeTensors(*file);
  const auto read = kd::ParseSafeTensors(again);
  kd::Require(read.ok() && kd::SerializeSafeTensors(*read) == again, "what was written can be read");
  return 0;
}
