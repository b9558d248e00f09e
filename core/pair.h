// The job file: reading, checking and explaining it. Client and coordinator use this one library, so the same bad file
// gives the same message everywhere.
#ifndef KD_CORE_PAIR_H_
#define KD_CORE_PAIR_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/yaml_tree.h"
#include "kd/v1/job.pb.h"

namespace kd {

// Parses YAML into a Pair with all defaults filled in and validated.
// INVALID_ARGUMENT: "pair.yaml:9:5: unknown key \"widht\" in student.compress; did you mean \"width\"?" and the like:
// file:line:column, the value seen, the rule, the nearest legal form. Anchors, aliases, tags, duplicate keys, depth
// beyond 32 and files over 1 MiB are refused before anything is built.
absl::StatusOr<v1::Pair> ParsePair(absl::string_view yaml, absl::string_view file_name);
// The same for a tree that has been read already.
absl::StatusOr<v1::Pair> ParsePair(const YamlNode& tree, absl::string_view file_name);

// Fills defaults (FieldRule.default_value) of absent scalar fields in present messages, and creates absent messages
// that have defaults.
void FillPairDefaults(v1::Pair& pair);

// Checks every rule that needs no file: limits, references between fields, grids that divide by strides.
// INVALID_ARGUMENT naming the field path and a legal value.
absl::Status ValidatePair(const v1::Pair& pair);

// INVALID_ARGUMENT, beginning with `path`: the detector takes other columns a point than `data` has, or learns
// velocities that its labels don't tell. INVALID_ARGUMENT, beginning with data.augmentation.flip_x: its range has
// nothing behind the sensor, where mirrored views would be.
absl::Status CheckDetectorData(absl::string_view path, const v1::Detector& detector, const v1::Data& data);

// The pair as YAML with all values, in schema order; ParsePair of it gives the same message.
std::string PairToYaml(const v1::Pair& pair);

// Documentation of a field path such as "pair", "pair.distill" or "pair.train.lr": type, unit, default, limits and the
// comment of job.proto. NOT_FOUND: no such path, with the nearest.
absl::StatusOr<std::string> ExplainPair(absl::string_view path);

// JSON Schema (draft 7) of the job file, for editors.
std::string PairJsonSchema();

}  // namespace kd

#endif  // KD_CORE_PAIR_H_
