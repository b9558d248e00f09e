// Copies of the teachers' weights, by content, that outlive the files that users name.
#ifndef KD_SERVER_COORDINATOR_TEACHER_WEIGHTS_H_
#define KD_SERVER_COORDINATOR_TEACHER_WEIGHTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "kd/v1/job.pb.h"

namespace kd {

// A teacher's weights on this machine, named by content.
struct TeacherWeights {
  std::string digest;
  std::string path;
};

// Copies what `teacher.weights` names, an absolute path or "registry://REPOSITORY:TAG" at `registry_url`, to
// FOLDER/teachers/HEX/model.safetensors (synced) unless it is there. NOT_FOUND: no such file or artifact.
// INVALID_ARGUMENT: a relative path, or an artifact without model.safetensors. UNAVAILABLE: no registry there.
absl::StatusOr<TeacherWeights> FetchTeacherWeights(const v1::TeacherSpec& teacher, const std::string& fleet_folder,
                                                   const std::string& registry_url);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_TEACHER_WEIGHTS_H_
