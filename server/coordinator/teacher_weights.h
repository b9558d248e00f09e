// Copies of the teachers' weights, by content, that outlive the files that users name.
#ifndef KD_SERVER_COORDINATOR_TEACHER_WEIGHTS_H_
#define KD_SERVER_COORDINATOR_TEACHER_WEIGHTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "kd/v1/job.pb.h"

namespace kd {

struct TeacherWeights {
  // Of `bytes`.
  std::string digest;
  // The weights file; not checked yet.
  std::string bytes;
};

// Reads what `teacher.weights` names: an absolute path, or "registry://REPOSITORY:TAG" at `registry_url`, which passes
// through a folder in `fleet_folder` that is removed again. NOT_FOUND: no such file or artifact. INVALID_ARGUMENT: a
// relative path, not a file, or an artifact without model.safetensors. UNAVAILABLE: no registry there.
absl::StatusOr<TeacherWeights> ReadTeacherWeights(const v1::TeacherSpec& teacher, const std::string& fleet_folder,
                                                  const std::string& registry_url);

// Writes them to TeacherWeightsPath() (fleet_names.h), synced, unless they are there, and returns that path.
absl::StatusOr<std::string> KeepTeacherWeights(const TeacherWeights& weights, const std::string& fleet_folder);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_TEACHER_WEIGHTS_H_
