#include "core/field_rules.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kd {

using google::protobuf::FieldDescriptor;

const v1::FieldRule& RuleOf(const FieldDescriptor* field) { return field->options().GetExtension(v1::rule); }

std::string KeyOf(const FieldDescriptor* field) {
  const v1::FieldRule& rule = RuleOf(field);
  return rule.key().empty() ? field->name() : rule.key();
}

bool KnowsItWasWritten(const FieldDescriptor* field) {
  return !field->is_repeated() && field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE && field->has_presence();
}

std::string TypeText(const FieldDescriptor* field) {
  std::string text;
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      text = "true or false";
      break;
    case FieldDescriptor::CPPTYPE_FLOAT:
    case FieldDescriptor::CPPTYPE_DOUBLE:
      text = field->is_repeated() ? "list of numbers" : "a number";
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      text = field->is_repeated() ? "list of words" : "a word";
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      text = field->is_repeated() ? "list of groups of keys" : "a group of keys";
      break;
    default:
      text = field->is_repeated() ? "list of whole numbers" : "a whole number";
  }
  if (field->is_repeated()) text = "a " + text;
  const std::string& unit = RuleOf(field).unit();
  return unit.empty() ? text : absl::StrCat(text, " (", unit, ")");
}

std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates) {
  const auto distance = [&](const std::string& other) {
    std::vector<size_t> row(other.size() + 1);
    for (size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= other.size(); ++j) {
        const size_t above = row[j];
        row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (word[i - 1] != other[j - 1])});
        diagonal = above;
      }
    }
    return row.back();
  };
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (const size_t d = distance(candidate); d < best_distance) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

}  // namespace kd
