// YAML as a tree with positions, read through a guard. yaml-cpp alone follows alias bombs and lets the first of two
// equal keys win; here anchors, aliases, tags, duplicate keys, second documents and deep nesting are refused as they
// are read.
#ifndef KD_CORE_YAML_TREE_H_
#define KD_CORE_YAML_TREE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  YamlNode() = default;
  YamlNode(const YamlNode&) = default;
  YamlNode(YamlNode&&) = default;
  YamlNode& operator=(const YamlNode&) = default;
  YamlNode& operator=(YamlNode&&) = default;
  // Not inline: Clang would need it to complete the pair that holds a node.
  ~YamlNode();

  Kind kind = Kind::kNull;
  // From 1.
  int line = 1, column = 1;
  // What to name in messages instead of file and position, for a value that came from elsewhere.
  std::string origin;
  // Where line and column stand, if not in the file that was asked for; null: there.
  std::shared_ptr<const std::string> file;
  std::string scalar;
  // "true" in quotes is text.
  bool quoted = false;
  std::vector<YamlNode> items;
  // In file order.
  std::vector<std::pair<std::string, YamlNode>> entries;

  // "a number", "a list" ..., for messages; scalars are quoted.
  std::string Describe() const;
};

// INVALID_ARGUMENT: "<file>:<line>:<column>: ...".
absl::StatusOr<YamlNode> ParseYamlTree(absl::string_view text, absl::string_view file_name);

}  // namespace kd

#endif  // KD_CORE_YAML_TREE_H_
