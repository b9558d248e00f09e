// What is known of a job before it runs. No torch.
#ifndef KD_SERVER_COORDINATOR_SUBMISSION_H_
#define KD_SERVER_COORDINATOR_SUBMISSION_H_

#include <string>

#include "absl/status/statusor.h"
#include "kd/v1/coordinator.pb.h"
#include "kd/v1/job.pb.h"

namespace kd {

// Reads the data set's splits, the objects to paste and the teacher's description (`teacher_weights`: its file's bytes;
// null without a teacher) and estimates the cost; jobs_ahead is left to the caller. Response bytes assume twenty
// objects in a frame.
// NOT_FOUND, INVALID_ARGUMENT: the data set, a split, the teacher or the student can't be used, with the remedy.
// Errors of ViewMaker::Open.
absl::StatusOr<v1::Estimate> CheckSubmission(const v1::Pair& pair, const std::string* teacher_weights);

}  // namespace kd

#endif  // KD_SERVER_COORDINATOR_SUBMISSION_H_
