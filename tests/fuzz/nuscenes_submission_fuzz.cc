// Detections in nuScenes's submission format, read and scored against a small data set.
#include <cstdlib>

#include "eval/nuscenes.h"
#include "eval/nuscenes_submission.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/nuscenes_seed.h"

namespace kd {
namespace {

NuscenesTables OpenTables() {
  WriteNuscenesSeed(std::string(40, 'A'));
  auto tables = NuscenesTables::Open(InputFolder().path(), "v1.0-mini");
  if (!tables.ok()) std::cerr << tables.status() << "\n";
  Require(tables.ok(), "the seed's tables can be read");
  return *std::move(tables);
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const kd::NuscenesTables& tables = *new kd::NuscenesTables(kd::OpenTables());
  const std::string path = kd::WriteInput("submission.json", kd::InputText(data, size));
  const std::vector<int32_t> expected = *tables.SplitSamples("mini_val");
  auto detections = kd::ReadNuscenesSubmission(path, tables, expected);
  if (!detections.ok()) {
    kd::RequireRefusal(detections.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  kd::Require(detections->size() == expected.size(), "every sample is there");
  const auto scores = kd::EvaluateNuscenes(tables, *std::move(detections));
  if (!scores.ok()) {
    kd::RequireRefusal(scores.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  kd::Require(scores->nds >= 0 && scores->nds <= 1, "NDS is in 0..1");
  return 0;
}
