// Labels and results, and what the official measure makes of them.
#include "data/kitti_label.h"
#include "eval/kitti.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {
namespace {

std::vector<KittiObject> Parse(const std::string& text, KittiText kind) {
  const auto objects = ParseKittiObjects(text, kind, "label.txt");
  if (!objects.ok()) {
    RequireRefusal(objects.status(), {absl::StatusCode::kInvalidArgument});
    return {};
  }
  std::string again;
  for (const KittiObject& object : *objects) again += FormatKittiObject(object, kind) + "\n";
  const auto read = ParseKittiObjects(again, kind, "again");
  Require(read.ok() && read->size() == objects->size(), "what was written can be read");
  return *objects;
}

}  // namespace
}  // namespace kd

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::vector<std::string> parts = kd::InputParts(data, size, 2);
  const kd::KittiFrame frame{.labels = kd::Parse(parts[0], kd::KittiText::kLabels),
                             .detections = kd::Parse(parts[1], kd::KittiText::kResults)};
  for (const auto& [set, classes] : kd::EvaluateKitti({frame})) {
    for (const auto& [name, metrics] : classes) {
      for (const auto& [metric, difficulties] : metrics) {
        for (const auto& [difficulty, curve] : difficulties) {
          kd::Require(metric == "aos" || (curve.r40 >= 0 && curve.r40 <= 100.001), "a precision is a percentage");
        }
      }
    }
  }
  return 0;
}
