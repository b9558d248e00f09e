// Is the set-up ok? One check after the other, each with a stable id and a remedy.
#ifndef KD_CLIENT_DOCTOR_H_
#define KD_CLIENT_DOCTOR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/fleet_client.h"

namespace kd {

struct DoctorOptions {
  FleetOptions fleet;
  // Only what can be known before a fleet runs.
  bool pre = false;
  // Job file whose data set is looked at; empty: none.
  std::string file;
  // Free bytes that this machine needs.
  uint64_t min_free_bytes = uint64_t{1} << 30;
};

struct Check {
  // Stable: scripts and documents name it.
  std::string id;
  // What was found, or why it is not well. A check that depends on another that failed is not made.
  std::function<absl::StatusOr<std::string>()> run;
  std::string remedy;
};

// client.programs, client.folder, disk.free; with a job file data.file, data.root, data.splits, data.frame; unless
// `pre` fleet.answers, fleet.version, fleet.folder, fleet.disk, fleet.teachers, registry.answers. A check whose ground
// was found missing by an earlier one returns CANCELLED with the reason.
std::vector<Check> DoctorChecks(const DoctorOptions& options);

}  // namespace kd

#endif  // KD_CLIENT_DOCTOR_H_
