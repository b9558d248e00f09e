// `--set`: single values of a job file without editing it.
#ifndef KD_CLIENT_PAIR_EDIT_H_
#define KD_CLIENT_PAIR_EDIT_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/yaml_tree.h"
#include "kd/v1/job.pb.h"

namespace kd {

// Applies "train.epochs=2", "distill[0].weight=3" or "distill.0.weight=3" to a job file's tree. The value is YAML; an
// empty one is empty text. Groups on the way are made; a list's items must exist. Whether key and value are legal is
// for ParsePair, which names the assignment in its message. INVALID_ARGUMENT: no such item, or not of the form
// PATH=VALUE.
absl::Status SetByPath(absl::string_view assignment, YamlNode& root);

// The folders of data set and objects and a teacher's file, absolute: the coordinator has another current folder.
// References of the registry stay.
void MakePathsAbsolute(v1::Pair& pair);

}  // namespace kd

#endif  // KD_CLIENT_PAIR_EDIT_H_
