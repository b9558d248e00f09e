#include "core/pcdet_reader.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "base/text.h"

namespace kd {
namespace {

constexpr size_t kShown = 120;

// A value in one spelling: numbers as they print, truth in lower case.
std::string Spelled(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kMap:
      return "a map";
    case YamlNode::Kind::kList:
      return absl::StrCat(
          "[",
          absl::StrJoin(node.items, ", ",
                        [](std::string* out, const YamlNode& item) { absl::StrAppend(out, Spelled(item)); }),
          "]");
    case YamlNode::Kind::kScalar:
      break;
  }
  float number = 0;
  if (!node.quoted && absl::SimpleAtof(node.scalar, &number)) return absl::StrCat(number);
  const std::string lower = absl::AsciiStrToLower(node.scalar);
  return lower == "true" || lower == "false" ? lower : node.scalar;
}

}  // namespace

const YamlNode* FindEntry(const YamlNode& node, absl::string_view key) {
  for (const auto& [name, value] : node.entries) {
    if (name == key) return &value;
  }
  return nullptr;
}

void PcdetReader::Fail(const YamlNode& node, absl::string_view problem) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(node.file == nullptr ? file_ : *node.file, ":", node.line, ":", node.column, ": ", problem));
}

void PcdetReader::Unknown(const YamlNode& node, absl::string_view what, absl::string_view name,
                          absl::string_view known) {
  Fail(node, absl::StrCat(what, " ", Quoted(name), " is not known here; there are ", known));
}

const YamlNode& PcdetReader::Child(const YamlNode& node, absl::string_view key, bool needed) {
  static const YamlNode kNothing;
  const YamlNode* const child = FindEntry(node, key);
  if (child == nullptr && needed) Fail(node, absl::StrCat(key, " is missing"));
  return child == nullptr ? kNothing : *child;
}

std::string PcdetReader::Text(const YamlNode& node, absl::string_view key) {
  const YamlNode& child = Child(node, key);
  if (status_.ok() && child.kind != YamlNode::Kind::kScalar)
    Fail(child, absl::StrCat(key, " is ", child.Describe(), ", expected text"));
  return child.scalar;
}

float PcdetReader::ToNumber(const YamlNode& node, absl::string_view key) {
  float value = 0;
  if (node.kind != YamlNode::Kind::kScalar || !absl::SimpleAtof(node.scalar, &value) || !std::isfinite(value)) {
    Fail(node, absl::StrCat(key, " is ", node.Describe(), ", expected a number"));
    return 0;
  }
  return value;
}

float PcdetReader::Number(const YamlNode& node, absl::string_view key) {
  const YamlNode& child = Child(node, key);
  return status_.ok() ? ToNumber(child, key) : 0;
}

float PcdetReader::Number(const YamlNode& node, absl::string_view key, float otherwise) {
  const YamlNode* const child = FindEntry(node, key);
  return child == nullptr || child->kind == YamlNode::Kind::kNull ? otherwise : ToNumber(*child, key);
}

uint32_t PcdetReader::Count(const YamlNode& node, absl::string_view key) {
  return ToCount(node, key, Number(node, key));
}

uint32_t PcdetReader::Count(const YamlNode& node, absl::string_view key, float otherwise) {
  return ToCount(node, key, Number(node, key, otherwise));
}

uint32_t PcdetReader::ToCount(const YamlNode& node, absl::string_view key, float value) {
  if (value >= 0 && value <= 1e9f && value == std::floor(value)) return static_cast<uint32_t>(value);
  Fail(node, absl::StrCat(key, " is ", value, ", expected a whole number"));
  return 0;
}

bool PcdetReader::Flag(const YamlNode& node, absl::string_view key, bool otherwise) {
  const YamlNode* const child = FindEntry(node, key);
  if (child == nullptr || child->kind == YamlNode::Kind::kNull) return otherwise;
  const std::string text = absl::AsciiStrToLower(child->scalar);
  if (text == "true" || text == "false") return text == "true";
  Fail(*child, absl::StrCat(key, " is ", child->Describe(), ", expected True or False"));
  return otherwise;
}

std::vector<std::string> PcdetReader::Texts(const YamlNode& node, absl::string_view key) {
  std::vector<std::string> values;
  for (const YamlNode& item : Child(node, key).items) values.push_back(item.scalar);
  return values;
}

void PcdetReader::Only(const YamlNode& node, absl::string_view key, absl::string_view only) {
  const YamlNode& child = Child(node, key);
  if (!status_.ok()) return;
  if (const std::string spelled = Spelled(child); spelled != only) {
    Fail(child, absl::StrCat(key, " is ", absl::CHexEscape(Shorten(spelled, kShown)), "; supported is ", only,
                             ", as in the model that was released for KITTI"));
  }
}

void PcdetReader::OnlyIfWritten(const YamlNode& node, absl::string_view key, absl::string_view only) {
  const YamlNode* const child = FindEntry(node, key);
  if (child == nullptr) return;
  if (const std::string spelled = Spelled(*child); spelled != only)
    Fail(*child, absl::StrCat(key, " is ", absl::CHexEscape(Shorten(spelled, kShown)), "; supported is ", only));
}

}  // namespace kd
