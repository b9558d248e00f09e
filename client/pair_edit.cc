#include "client/pair_edit.h"

#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace kd {
namespace {

void SetOrigin(const std::string& origin, YamlNode& node) {
  node.origin = origin;
  for (YamlNode& item : node.items) SetOrigin(origin, item);
  for (auto& [key, value] : node.entries) SetOrigin(origin, value);
}

absl::StatusOr<YamlNode> ParseValue(absl::string_view text, const std::string& origin) {
  YamlNode node;
  if (text.empty()) {
    node.kind = YamlNode::Kind::kScalar;
    node.quoted = true;
  } else {
    absl::StatusOr<YamlNode> parsed = ParseYamlTree(text, origin);
    if (!parsed.ok()) return parsed.status();
    node = *std::move(parsed);
  }
  SetOrigin(origin, node);
  return node;
}

// The part of `node` called `part`; made when a group lacks it. Null: there is no such item.
YamlNode* Descend(absl::string_view part, const std::string& origin, YamlNode& node) {
  if (node.kind == YamlNode::Kind::kList) {
    size_t index;
    return absl::SimpleAtoi(part, &index) && index < node.items.size() ? &node.items[index] : nullptr;
  }
  if (node.kind != YamlNode::Kind::kMap) {
    // ParsePair says what is wrong with a group where a value belongs.
    node = YamlNode();
    node.kind = YamlNode::Kind::kMap;
    node.origin = origin;
  }
  for (auto& [key, value] : node.entries) {
    if (key == part) return &value;
  }
  node.entries.emplace_back(std::string(part), YamlNode());
  YamlNode& made = node.entries.back().second;
  made.origin = origin;
  return &made;
}

}  // namespace

absl::Status SetByPath(absl::string_view assignment, YamlNode& root) {
  const std::string origin = absl::StrCat("--set ", assignment);
  const size_t equals = assignment.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(absl::StrCat(origin, ": expected PATH=VALUE, for example train.epochs=2"));
  }
  absl::StatusOr<YamlNode> value = ParseValue(assignment.substr(equals + 1), origin);
  if (!value.ok()) return value.status();
  const std::string path = absl::StrReplaceAll(assignment.substr(0, equals), {{"[", "."}, {"]", ""}});
  YamlNode* node = &root;
  for (const absl::string_view part : absl::StrSplit(path, '.')) {
    if (part.empty()) return absl::InvalidArgumentError(absl::StrCat(origin, ": a name between two dots is empty"));
    const size_t items = node->items.size();
    node = Descend(part, origin, *node);
    if (node == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(origin, ": there is no item \"", part, "\"; the list has ", items, ", counted from 0"));
    }
  }
  *node = *std::move(value);
  return absl::OkStatus();
}

void MakePathsAbsolute(v1::Pair& pair) {
  const auto absolute = [](const std::string& path) {
    return std::filesystem::absolute(path).lexically_normal().string();
  };
  if (!pair.data().root().empty()) pair.mutable_data()->set_root(absolute(pair.data().root()));
  if (const std::string& objects = pair.data().augmentation().objects(); !objects.empty()) {
    pair.mutable_data()->mutable_augmentation()->set_objects(absolute(objects));
  }
  if (pair.has_teacher() && !absl::StartsWith(pair.teacher().weights(), "registry://")) {
    pair.mutable_teacher()->set_weights(absolute(pair.teacher().weights()));
  }
}

}  // namespace kd
