// Weights of other programs as a teacher's weights file of ours.
#ifndef KD_WORKER_IMPORT_TEACHER_H_
#define KD_WORKER_IMPORT_TEACHER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/safetensors.h"
#include "core/state_report.h"
#include "kd/v1/detector.pb.h"

namespace kd {

struct ImportedTeacher {
  StateReport report;
  // What does not fit and was not allowed to be so.
  std::vector<std::string> refused;
  // What a job's teacher.weights takes; empty if something was refused, or if no tensor fits.
  std::string file;
};

// `weights` for the parameters of `detector`. What the report lists as missing or mismatched and `allowed` names
// (UnfitNames' patterns) starts from the detector's initial values, the same ones every time; what it lists as
// unexpected and `allowed` names is left out.
absl::StatusOr<ImportedTeacher> ImportTeacher(const v1::Detector& detector, SafeTensorsFile weights,
                                              const std::vector<std::string>& allowed);

}  // namespace kd

#endif  // KD_WORKER_IMPORT_TEACHER_H_
