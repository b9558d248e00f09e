#include "core/pair.h"
#include "core/yaml_tree.h"
#include "tests/fuzz/fuzz_target.h"

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text = kd::InputText(data, size);
  const auto tree = kd::ParseYamlTree(text, "pair.yaml");
  if (!tree.ok()) {
    kd::RequireRefusal(tree.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  const auto pair = kd::ParsePair(*tree, "pair.yaml");
  if (!pair.ok()) {
    kd::RequireRefusal(pair.status(), {absl::StatusCode::kInvalidArgument});
    return 0;
  }
  const std::string yaml = kd::PairToYaml(*pair);
  const auto again = kd::ParsePair(yaml, "again");
  if (!again.ok()) std::cerr << again.status() << "\n" << yaml;
  kd::Require(again.ok() && again->SerializeAsString() == pair->SerializeAsString(), "what was written reads the same");
  return 0;
}
