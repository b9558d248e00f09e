#include "client/json.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "core/field_rules.h"
#include "google/protobuf/timestamp.pb.h"

namespace kd {
namespace {

using google::protobuf::EnumValueDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using nlohmann::ordered_json;

// JOB_STATE_RUNNING of JobState is "RUNNING".
std::string BareName(const EnumValueDescriptor* value) {
  std::string prefix;
  for (const char c : value->type()->name()) {
    if (absl::ascii_isupper(c) && !prefix.empty()) prefix += '_';
    prefix += absl::ascii_toupper(c);
  }
  return std::string(absl::StripPrefix(value->name(), prefix + "_"));
}

ordered_json Number(double value) {
  return std::isfinite(value) ? ordered_json(value) : ordered_json(absl::StrCat(value));
}

// The shortest text of a float is longer as a double: 0.1f is 0.10000000149.
ordered_json Number(float value) { return Number(std::stod(absl::StrCat(value))); }

// `index` -1: the field is not repeated.
ordered_json Value(const Message& message, const FieldDescriptor* field, int index) {
  const auto* r = message.GetReflection();
  const bool one = index < 0;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageToJson(one ? r->GetMessage(message, field) : r->GetRepeatedMessage(message, field, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return one ? r->GetString(message, field) : r->GetRepeatedString(message, field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return BareName(one ? r->GetEnum(message, field) : r->GetRepeatedEnum(message, field, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? r->GetBool(message, field) : r->GetRepeatedBool(message, field, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return Number(one ? r->GetFloat(message, field) : r->GetRepeatedFloat(message, field, index));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return Number(one ? r->GetDouble(message, field) : r->GetRepeatedDouble(message, field, index));
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? r->GetInt32(message, field) : r->GetRepeatedInt32(message, field, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return one ? r->GetUInt32(message, field) : r->GetRepeatedUInt32(message, field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? r->GetInt64(message, field) : r->GetRepeatedInt64(message, field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return one ? r->GetUInt64(message, field) : r->GetRepeatedUInt64(message, field, index);
  }
  return nullptr;
}

ordered_json MapToJson(const Message& message, const FieldDescriptor* field) {
  // By key: the map's own order changes from run to run.
  std::map<std::string, ordered_json> sorted;
  const auto* r = message.GetReflection();
  for (int i = 0; i < r->FieldSize(message, field); ++i) {
    const Message& entry = r->GetRepeatedMessage(message, field, i);
    const auto* descriptor = entry.GetDescriptor();
    const ordered_json key = Value(entry, descriptor->map_key(), -1);
    sorted[key.is_string() ? key.get<std::string>() : key.dump()] = Value(entry, descriptor->map_value(), -1);
  }
  ordered_json json = ordered_json::object();
  for (auto& [key, value] : sorted) json[key] = std::move(value);
  return json;
}

// True for text that YAML reads as the same text without quotes.
bool IsPlain(const std::string& text) {
  if (text.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(text.front()))) return false;
  for (const char* word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}) {
    if (absl::EqualsIgnoreCase(text, word)) return false;
  }
  for (const char c : text) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-' && c != '.' && c != '/')
      return false;
  }
  return true;
}

std::string Scalar(const ordered_json& json) {
  if (json.is_string() && IsPlain(json.get<std::string>())) return json.get<std::string>();
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

void WriteYaml(const ordered_json& json, const std::string& indent, std::string& out);

// What stands behind "key:" or "-".
void WriteChild(const ordered_json& json, const std::string& indent, std::string& out) {
  if (json.is_structured() && !json.empty()) {
    out += "\n";
    WriteYaml(json, indent + "  ", out);
  } else {
    absl::StrAppend(&out, " ", Scalar(json), "\n");
  }
}

void WriteYaml(const ordered_json& json, const std::string& indent, std::string& out) {
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      absl::StrAppend(&out, indent, Scalar(key), ":");
      WriteChild(value, indent, out);
    }
    return;
  }
  for (const ordered_json& item : json) {
    if (item.is_structured() && !item.empty()) {
      // The first key stands beside the dash.
      std::string body;
      WriteYaml(item, indent + "  ", body);
      absl::StrAppend(&out, indent, "- ", absl::StripPrefix(body, indent + "  "));
    } else {
      absl::StrAppend(&out, indent, "- ", Scalar(item), "\n");
    }
  }
}

}  // namespace

ordered_json MessageToJson(const Message& message) {
  if (const auto* time = dynamic_cast<const google::protobuf::Timestamp*>(&message)) {
    const absl::Time at = absl::FromUnixSeconds(time->seconds()) + absl::Nanoseconds(time->nanos());
    return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", at, absl::UTCTimeZone());
  }
  const auto* r = message.GetReflection();
  ordered_json json = ordered_json::object();
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_map()) {
      json[KeyOf(field)] = MapToJson(message, field);
    } else if (field->is_repeated()) {
      ordered_json& list = json[KeyOf(field)] = ordered_json::array();
      for (int j = 0; j < r->FieldSize(message, field); ++j) list.push_back(Value(message, field, j));
    } else if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || r->HasField(message, field)) {
      json[KeyOf(field)] = Value(message, field, -1);
    }
  }
  return json;
}

std::string JsonToYaml(const ordered_json& json) {
  if (!json.is_structured() || json.empty()) return Scalar(json) + "\n";
  std::string out;
  WriteYaml(json, "", out);
  return out;
}

std::string JsonToText(const ordered_json& json) {
  return json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace kd
