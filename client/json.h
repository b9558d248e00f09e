// Messages as people's tools read them.
#ifndef KD_CLIENT_JSON_H_
#define KD_CLIENT_JSON_H_

#include <string>

#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

namespace kd {

// Keys are the fields' names (a job file's keys in a Pair), in their order; all scalars are present, absent messages
// are not. Unlike protobuf's own mapping, 64-bit numbers are numbers and enumerations bare words such as "RUNNING";
// times are "2026-01-02T03:04:05.678Z".
nlohmann::ordered_json MessageToJson(const google::protobuf::Message& message);

// The same in block style, for people; any YAML reader gives the same values back.
std::string JsonToYaml(const nlohmann::ordered_json& json);

// Indented, with an end of line. Bytes that are not UTF-8 are replaced.
std::string JsonToText(const nlohmann::ordered_json& json);

}  // namespace kd

#endif  // KD_CLIENT_JSON_H_
