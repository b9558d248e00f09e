#include "core/yaml_tree.h"

#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/exceptions.h"
#include "yaml-cpp/parser.h"

namespace kd {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kMaxDepth = 32;
constexpr size_t kShownBytes = 60;

struct Refusal {
  YAML::Mark mark;
  std::string problem;
};

// Builds the tree; the first refusal is thrown through yaml-cpp's own parser, which has no other way to be stopped, and
// caught in ParseYamlTree.
class TreeBuilder : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    Add(Node(mark, YamlNode::Kind::kNull));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    throw Refusal{mark, "aliases (*name) are not allowed; write the value out"};
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (value.find('\0') != std::string::npos) throw Refusal{mark, "a NUL byte is not allowed; remove it"};
    YamlNode node = Node(mark, YamlNode::Kind::kScalar);
    node.scalar = value;
    node.quoted = tag == "!";
    Add(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { Close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { Close(); }

  YamlNode TakeRoot() { return std::move(root_); }

 private:
  struct OpenNode {
    YamlNode node;
    // A map waits for the value of this key.
    bool has_key = false;
    std::string key;
    // Indices into node.entries.
    std::unordered_map<std::string, size_t> entry_of;
  };

  static YamlNode Node(const YAML::Mark& mark, YamlNode::Kind kind) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }
  static void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != 0) throw Refusal{mark, "anchors (&name) are not allowed; write the value out"};
  }
  static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refusal{mark, absl::StrCat("tag \"", absl::CHexEscape(tag.substr(0, kShownBytes)),
                                       "\" is not allowed; leave it out")};
    }
  }
  void Open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    RefuseAnchor(mark, anchor);
    RefuseTag(mark, tag);
    if (!open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap && !open_.back().has_key) {
      throw Refusal{mark, "a key must be a plain word"};
    }
    if (open_.size() >= kMaxDepth)
      throw Refusal{mark, absl::StrCat("nested deeper than ", kMaxDepth, " levels; no job needs that, remove some")};
    open_.push_back({.node = Node(mark, kind)});
  }
  void Close() {
    YamlNode node = std::move(open_.back().node);
    open_.pop_back();
    Add(std::move(node));
  }
  void Add(YamlNode node) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    OpenNode& parent = open_.back();
    if (parent.node.kind == YamlNode::Kind::kList) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      BeginEntry(parent, std::move(node));
    } else {
      parent.node.entries.emplace_back(std::move(parent.key), std::move(node));
      parent.has_key = false;
    }
  }
  static void BeginEntry(OpenNode& parent, YamlNode key) {
    YAML::Mark mark;
    mark.line = key.line - 1;
    mark.column = key.column - 1;
    if (key.kind != YamlNode::Kind::kScalar) throw Refusal{mark, "a key must be a plain word"};
    const auto [first, added] = parent.entry_of.emplace(key.scalar, parent.node.entries.size());
    if (!added) {
      throw Refusal{mark, absl::StrCat("key \"", absl::CHexEscape(key.scalar.substr(0, kShownBytes)),
                                       "\" appears twice (its first value is in line ",
                                       parent.node.entries[first->second].second.line, "); keep one")};
    }
    parent.key = std::move(key.scalar);
    parent.has_key = true;
  }

  std::vector<OpenNode> open_;
  YamlNode root_;
};

// Offset of the first byte that is not part of UTF-8 text; npos if there is none.
size_t FindInvalidUtf8(absl::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0u; };
    const unsigned lead = byte(i);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xc2 && lead < 0xe0 ? 2
                          : lead >= 0xe0 && lead < 0xf0 ? 3
                          : lead >= 0xf0 && lead < 0xf5 ? 4
                                                        : 0;
    if (length == 0) return i;
    for (size_t j = 1; j < length; ++j) {
      if ((byte(i + j) & 0xc0) != 0x80) return i;
    }
    const bool overlong = (lead == 0xe0 && byte(i + 1) < 0xa0) || (lead == 0xf0 && byte(i + 1) < 0x90);
    const bool surrogate = lead == 0xed && byte(i + 1) >= 0xa0;
    if (overlong || surrogate || (lead == 0xf4 && byte(i + 1) >= 0x90)) return i;
    i += length;
  }
  return absl::string_view::npos;
}

// Line and column of the byte at `offset`.
YAML::Mark MarkOf(absl::string_view text, size_t offset) {
  const absl::string_view before = text.substr(0, offset);
  const size_t line_end = before.rfind('\n');
  YAML::Mark mark;
  mark.line = static_cast<int>(std::count(before.begin(), before.end(), '\n'));
  mark.column = static_cast<int>(line_end == absl::string_view::npos ? offset : offset - line_end - 1);
  return mark;
}

absl::Status At(absl::string_view file_name, const YAML::Mark& mark, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat(file_name, ":", mark.line + 1, ":", mark.column + 1, ": ", problem));
}

}  // namespace

YamlNode::~YamlNode() = default;

std::string YamlNode::Describe() const {
  switch (kind) {
    case Kind::kNull:
      return "nothing";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a group of keys";
    case Kind::kScalar:
      break;
  }
  return absl::StrCat("\"", absl::CHexEscape(scalar.substr(0, kShownBytes)), "\"");
}

absl::StatusOr<YamlNode> ParseYamlTree(absl::string_view text, absl::string_view file_name) {
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(file_name, ":1:1: the file has ", text.size(), " bytes; at most ", kMaxBytes, " are read"));
  }
  if (const size_t bad = FindInvalidUtf8(text); bad != absl::string_view::npos) {
    return At(file_name, MarkOf(text, bad), "the file is not UTF-8 text; save it as UTF-8");
  }
  if (const size_t nul = text.find('\0'); nul != absl::string_view::npos) {
    return At(file_name, MarkOf(text, nul), "a NUL byte is not allowed; remove it");
  }
  std::istringstream stream{std::string(text)};
  TreeBuilder builder;
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_name, ":1:1: the file is empty; `kdctl explain pair` shows what belongs here"));
    }
    TreeBuilder second;
    if (parser.HandleNextDocument(second)) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_name, ": a second document (---) is not allowed; one file holds one job"));
    }
  } catch (const Refusal& refusal) {
    return At(file_name, refusal.mark, refusal.problem);
  } catch (const YAML::Exception& error) {
    return At(file_name, error.mark, absl::StrCat("not valid YAML: ", absl::CHexEscape(error.msg)));
  }
  return builder.TakeRoot();
}

}  // namespace kd
