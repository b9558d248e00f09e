// Weights of other programs as a teacher's weights file of ours.
#ifndef KD_WORKER_IMPORT_TEACHER_H_
#define KD_WORKER_IMPORT_TEACHER_H_

#include <string>

#include "absl/status/statusor.h"
#include "core/safetensors.h"
#include "core/state_report.h"
#include "kd/v1/detector.pb.h"

namespace kd {

struct ImportedTeacher {
  StateReport report;
  // What a job's teacher.weights takes; empty if the weights do not fit and that was not allowed.
  std::string file;
};

// `weights` for the parameters of `detector`. With `allow_missing` what the report lists as missing or mismatched
// starts from the detector's initial values, the same ones every time, and what it lists as unexpected is left out.
absl::StatusOr<ImportedTeacher> ImportTeacher(const v1::Detector& detector, SafeTensorsFile weights,
                                              bool allow_missing);

}  // namespace kd

#endif  // KD_WORKER_IMPORT_TEACHER_H_
