// The FieldRule options of the job file's messages, as its parser, validator and documentation use them.
#ifndef KD_CORE_FIELD_RULES_H_
#define KD_CORE_FIELD_RULES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "kd/v1/field.pb.h"

namespace kd {

const v1::FieldRule& RuleOf(const google::protobuf::FieldDescriptor* field);

// The key in YAML.
std::string KeyOf(const google::protobuf::FieldDescriptor* field);

// True for a single value that 0 and "absent" are two things of ("optional" in the proto).
bool KnowsItWasWritten(const google::protobuf::FieldDescriptor* field);

// "a whole number (steps)", "true or false", "a list of numbers" ...
std::string TypeText(const google::protobuf::FieldDescriptor* field);

// The candidate with the smallest edit distance, if it is close enough to be meant; else empty.
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace kd

#endif  // KD_CORE_FIELD_RULES_H_
