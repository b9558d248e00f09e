// Jobs and teachers as lists and as pages.
#ifndef KD_CLIENT_JOB_TABLE_H_
#define KD_CLIENT_JOB_TABLE_H_

#include <string>

#include "absl/time/time.h"
#include "client/table.h"
#include "kd/v1/coordinator.pb.h"

namespace kd {

Table JobTable(const v1::ListJobsResponse& jobs, absl::Time now);
Table TeacherTable(const v1::ListTeachersResponse& teachers, absl::Time now);

// Everything that is known of a job, for reading: state and cause first, its events last.
std::string DescribeJob(const v1::Job& job, const v1::ListEventsResponse& events, absl::Time now);

}  // namespace kd

#endif  // KD_CLIENT_JOB_TABLE_H_
