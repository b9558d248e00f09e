// What processes, leases, folders and logs of a fleet are called.
#ifndef KD_SERVER_COORDINATOR_FLEET_NAMES_H_
#define KD_SERVER_COORDINATOR_FLEET_NAMES_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace kd {

// Keys of a generation in the rendezvous store begin with it.
inline std::string GenerationPrefix(absl::string_view job, uint32_t generation) {
  return absl::StrCat(job, "/", generation, "/");
}

inline std::string WorkerName(absl::string_view job, uint32_t generation, uint32_t rank) {
  return absl::StrCat(GenerationPrefix(job, generation), rank);
}

inline std::string TeacherName(absl::string_view digest) { return absl::StrCat("teacher/", digest); }

// The digest in a teacher's name; empty for a worker's.
inline std::string TeacherOfName(absl::string_view name) {
  return absl::ConsumePrefix(&name, "teacher/") ? std::string(name) : "";
}

inline std::string JobFolder(absl::string_view fleet_folder, absl::string_view job) {
  return absl::StrCat(fleet_folder, "/jobs/", job);
}

// True for a file directly in the job's folder of checkpoints.
inline bool IsCheckpointPath(absl::string_view job_folder, absl::string_view path) {
  return absl::ConsumePrefix(&path, job_folder) && absl::ConsumePrefix(&path, "/checkpoints/") && !path.empty() &&
         path.front() != '.' && path.find('/') == absl::string_view::npos;
}

inline std::string WorkerLogPath(absl::string_view job_folder, uint32_t rank) {
  return absl::StrCat(job_folder, "/logs/rank", rank, ".log");
}

inline std::string TeacherFolder(absl::string_view fleet_folder, absl::string_view digest) {
  return absl::StrCat(fleet_folder, "/teachers/", absl::StripPrefix(digest, "sha256:"));
}

inline std::string TeacherWeightsPath(absl::string_view fleet_folder, absl::string_view digest) {
  return TeacherFolder(fleet_folder, digest) + "/model.safetensors";
}

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_FLEET_NAMES_H_
