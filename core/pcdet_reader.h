// Values of an OpenPCDet configuration, with errors that say where they stand.
#ifndef KD_CORE_PCDET_READER_H_
#define KD_CORE_PCDET_READER_H_

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "core/yaml_tree.h"

namespace kd {

// An entry of a map; null where there is none.
const YamlNode* FindEntry(const YamlNode& node, absl::string_view key);

// Reads values by their key and remembers the first problem, after which answers are defaults.
class PcdetReader {
 public:
  explicit PcdetReader(absl::string_view file) : file_(file) {}

  // INVALID_ARGUMENT "<file>:<line>:<column>: ...": the first problem, in the file where it stands.
  const absl::Status& status() const { return status_; }

  void Fail(const YamlNode& node, absl::string_view problem);
  // A part `name`, a `what`, that no detector here has; `known` are those that there are.
  void Unknown(const YamlNode& node, absl::string_view what, absl::string_view name, absl::string_view known);

  // An empty node where the key is missing and not needed.
  const YamlNode& Child(const YamlNode& node, absl::string_view key, bool needed = true);

  std::string Text(const YamlNode& node, absl::string_view key);
  float Number(const YamlNode& node, absl::string_view key);
  float Number(const YamlNode& node, absl::string_view key, float otherwise);
  uint32_t Count(const YamlNode& node, absl::string_view key);
  uint32_t Count(const YamlNode& node, absl::string_view key, float otherwise);
  // What YAML and OpenPCDet call true.
  bool Flag(const YamlNode& node, absl::string_view key, bool otherwise);
  template <typename T = float>
  std::vector<T> Numbers(const YamlNode& node, absl::string_view key, bool needed = true);
  std::vector<std::string> Texts(const YamlNode& node, absl::string_view key);
  float ToNumber(const YamlNode& node, absl::string_view key);

  // Fails unless the value is `only`, written as "FPS", "true", "[[16, 16], [0.4, 0.8]]": what no field can say.
  void Only(const YamlNode& node, absl::string_view key, absl::string_view only);
  // The same of a value that may be left out.
  void OnlyIfWritten(const YamlNode& node, absl::string_view key, absl::string_view only);

 private:
  uint32_t ToCount(const YamlNode& node, absl::string_view key, float value);

  const std::string file_;
  absl::Status status_;
};

template <typename T>
std::vector<T> PcdetReader::Numbers(const YamlNode& node, absl::string_view key, bool needed) {
  const YamlNode& child = Child(node, key, needed);
  std::vector<T> values;
  if (child.kind == YamlNode::Kind::kNull && !needed) return values;
  if (status_.ok() && child.kind != YamlNode::Kind::kList)
    Fail(child, absl::StrCat(key, " is ", child.Describe(), ", expected a list of numbers"));
  for (const YamlNode& item : child.items) {
    const float value = ToNumber(item, key);
    if constexpr (std::is_same_v<T, uint32_t>) {
      values.push_back(ToCount(item, key, value));
    } else {
      values.push_back(static_cast<T>(value));
    }
  }
  return values;
}

}  // namespace kd

#endif  // KD_CORE_PCDET_READER_H_
