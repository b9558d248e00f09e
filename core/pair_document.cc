// The job file written back, explained, and as a schema: all derived from the descriptors.
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "core/field_rules.h"
#include "core/pair.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

// Written by proto/CMakeLists.txt: the descriptor set with its comments.
extern "C" const char kd_descriptors_begin[];
extern "C" const char kd_descriptors_end[];

namespace kd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::SourceLocation;

// The embedded descriptors, which unlike the generated ones carry the comments.
const DescriptorPool& CommentedPool() {
  static const DescriptorPool* const pool = [] {
    google::protobuf::FileDescriptorSet set;
    set.ParseFromArray(kd_descriptors_begin, static_cast<int>(kd_descriptors_end - kd_descriptors_begin));
    auto* built = new DescriptorPool;
    for (const auto& file : set.file()) built->BuildFile(file);
    return built;
  }();
  return *pool;
}

std::string CommentOf(const FieldDescriptor* field) {
  const FieldDescriptor* commented = CommentedPool().FindFieldByName(field->full_name());
  SourceLocation location;
  if (commented == nullptr || !commented->GetSourceLocation(&location)) return "";
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(location.leading_comments, '\n', absl::SkipWhitespace())) {
    lines.emplace_back(absl::StripAsciiWhitespace(line));
  }
  return absl::StrJoin(lines, " ");
}

const FieldDescriptor* FindKey(const Descriptor* descriptor, absl::string_view key) {
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (KeyOf(descriptor->field(i)) == key) return descriptor->field(i);
  }
  return nullptr;
}

std::string QuotedIfNeeded(const std::string& text) {
  double number;
  const bool plain = !text.empty() && text.find_first_of(":#{}[],&*!|>'\"%@`\n\t ") == std::string::npos &&
                     text != "true" && text != "false" && text != "null" && text != "~" && text.front() != '-' &&
                     text.front() != '?' && !absl::SimpleAtod(text, &number);
  return plain ? text : nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string ScalarText(const Message& message, const FieldDescriptor* field, int index) {
  const auto* r = message.GetReflection();
  const bool list = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return r->GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_FLOAT: {
      // The shortest text that reads back as the same float.
      const float value = list ? r->GetRepeatedFloat(message, field, index) : r->GetFloat(message, field);
      std::string text = absl::StrCat(value);
      float again;
      if (!absl::SimpleAtof(text, &again) || again != value) {
        char buffer[32];
        std::snprintf(buffer, sizeof(buffer), "%.9g", static_cast<double>(value));
        text = buffer;
      }
      return text;
    }
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      char buffer[32];
      const double value = list ? r->GetRepeatedDouble(message, field, index) : r->GetDouble(message, field);
      std::snprintf(buffer, sizeof(buffer), "%.15g", value);
      return buffer;
    }
    case FieldDescriptor::CPPTYPE_UINT32:
      return absl::StrCat(list ? r->GetRepeatedUInt32(message, field, index) : r->GetUInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return absl::StrCat(list ? r->GetRepeatedUInt64(message, field, index) : r->GetUInt64(message, field));
    default:
      return QuotedIfNeeded(list ? r->GetRepeatedString(message, field, index) : r->GetString(message, field));
  }
}

// Optional words that are empty say "not given" and are left out; everything else is written.
bool IsWritten(const Message& message, const FieldDescriptor* field) {
  const auto* r = message.GetReflection();
  if (field->is_repeated()) return r->FieldSize(message, field) > 0;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) return r->HasField(message, field);
  const v1::FieldRule& rule = RuleOf(field);
  if (KnowsItWasWritten(field)) return r->HasField(message, field);
  return r->HasField(message, field) || (!rule.default_value().empty() && rule.only_for().empty());
}

void WriteMessage(const Message& message, const std::string& indent, std::string& out);

void WriteField(const Message& message, const FieldDescriptor* field, const std::string& indent, std::string& out) {
  const auto* r = message.GetReflection();
  absl::StrAppend(&out, indent, KeyOf(field), ":");
  if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
    if (!field->is_repeated()) {
      absl::StrAppend(&out, " ", ScalarText(message, field, 0), "\n");
      return;
    }
    std::vector<std::string> items;
    for (int i = 0; i < r->FieldSize(message, field); ++i) items.push_back(ScalarText(message, field, i));
    absl::StrAppend(&out, " [", absl::StrJoin(items, ", "), "]\n");
    return;
  }
  if (!field->is_repeated()) {
    std::string body;
    WriteMessage(r->GetMessage(message, field), indent + "  ", body);
    absl::StrAppend(&out, body.empty() ? " {}\n" : absl::StrCat("\n", body));
    return;
  }
  out += "\n";
  for (int i = 0; i < r->FieldSize(message, field); ++i) {
    std::string body;
    WriteMessage(r->GetRepeatedMessage(message, field, i), indent + "    ", body);
    absl::StrAppend(&out, indent, "  - ", absl::StripPrefix(body, indent + "    "));
  }
}

void WriteMessage(const Message& message, const std::string& indent, std::string& out) {
  const Descriptor* descriptor = message.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    if (IsWritten(message, descriptor->field(i))) WriteField(message, descriptor->field(i), indent, out);
  }
}

std::string Constraints(const FieldDescriptor* field) {
  const v1::FieldRule& rule = RuleOf(field);
  std::vector<std::string> parts = {TypeText(field)};
  if (rule.required()) parts.push_back("required");
  if (!rule.default_value().empty()) parts.push_back(absl::StrCat("default ", rule.default_value()));
  if (!rule.one_of().empty()) parts.push_back(absl::StrCat("one of ", absl::StrJoin(rule.one_of(), ", ")));
  if (rule.has_min()) parts.push_back(absl::StrCat("at least ", rule.min()));
  if (rule.has_max()) parts.push_back(absl::StrCat("at most ", rule.max()));
  if (rule.length() != 0) parts.push_back(absl::StrCat(rule.length(), " values"));
  if (!rule.only_for().empty()) parts.push_back(absl::StrCat("only for ", absl::StrJoin(rule.only_for(), ", ")));
  if (!rule.example().empty()) parts.push_back(absl::StrCat("for example ", rule.example()));
  return absl::StrJoin(parts, "; ");
}

nlohmann::ordered_json SchemaOf(const Descriptor* descriptor);

nlohmann::ordered_json SchemaOf(const FieldDescriptor* field) {
  nlohmann::ordered_json schema;
  const v1::FieldRule& rule = RuleOf(field);
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      schema = SchemaOf(field->message_type());
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      schema["type"] = "boolean";
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      schema["type"] = "string";
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      schema["type"] = "number";
      break;
    default:
      schema["type"] = "integer";
      schema["minimum"] = 0;
  }
  if (!rule.one_of().empty()) schema["enum"] = std::vector<std::string>(rule.one_of().begin(), rule.one_of().end());
  if (rule.has_min()) schema["minimum"] = rule.min();
  if (rule.has_max()) schema["maximum"] = rule.max();
  if (field->is_repeated()) {
    nlohmann::ordered_json list = {{"type", "array"}, {"items", schema}};
    if (rule.length() != 0) list["minItems"] = list["maxItems"] = rule.length();
    schema = list;
  }
  const std::string comment = CommentOf(field);
  if (!comment.empty()) schema["description"] = comment;
  return schema;
}

nlohmann::ordered_json SchemaOf(const Descriptor* descriptor) {
  nlohmann::ordered_json schema = {{"type", "object"}, {"additionalProperties", false}};
  std::vector<std::string> required;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    schema["properties"][KeyOf(field)] = SchemaOf(field);
    if (RuleOf(field).required()) required.push_back(KeyOf(field));
  }
  if (!required.empty()) schema["required"] = required;
  return schema;
}

}  // namespace

std::string PairToYaml(const v1::Pair& pair) {
  std::string out;
  WriteMessage(pair, "", out);
  return out;
}

absl::StatusOr<std::string> ExplainPair(absl::string_view path) {
  std::vector<absl::string_view> keys = absl::StrSplit(path, '.', absl::SkipEmpty());
  if (!keys.empty() && keys.front() == "pair") keys.erase(keys.begin());
  const Descriptor* descriptor = v1::Pair::descriptor();
  const FieldDescriptor* field = nullptr;
  std::string known = "pair";
  for (const absl::string_view key : keys) {
    const FieldDescriptor* next = descriptor == nullptr ? nullptr : FindKey(descriptor, key);
    if (next == nullptr) {
      std::vector<std::string> names;
      for (int i = 0; descriptor != nullptr && i < descriptor->field_count(); ++i)
        names.push_back(KeyOf(descriptor->field(i)));
      const std::string near = Nearest(key, names);
      return absl::NotFoundError(absl::StrCat("no key \"", key.substr(0, 60), "\" in ", known, "; ",
                                              near.empty() ? absl::StrCat("there are ", absl::StrJoin(names, ", "))
                                                           : absl::StrCat("did you mean ", known, ".", near, "?")));
    }
    field = next;
    descriptor = field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE ? field->message_type() : nullptr;
    absl::StrAppend(&known, ".", key);
  }
  std::string text = known;
  if (field != nullptr) absl::StrAppend(&text, "  <", Constraints(field), ">\n  ", CommentOf(field), "\n");
  if (descriptor == nullptr) return text;
  absl::StrAppend(&text, field == nullptr ? "  <one job>\n" : "", "\nKEYS\n");
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* child = descriptor->field(i);
    absl::StrAppend(&text, "  ", KeyOf(child), "  <", Constraints(child), ">\n");
    const std::string comment = CommentOf(child);
    if (!comment.empty()) absl::StrAppend(&text, "    ", comment, "\n");
  }
  return text;
}

std::string PairJsonSchema() {
  nlohmann::ordered_json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"}, {"title", "kdfleet job"}};
  schema.update(SchemaOf(v1::Pair::descriptor()));
  return schema.dump(2);
}

}  // namespace kd
