// What kdctl's commands share, and the groups of commands, one file each.
#ifndef KD_CLIENT_SESSION_H_
#define KD_CLIENT_SESSION_H_

#include "CLI/CLI.hpp"
#include "client/fleet_client.h"
#include "client/output.h"

namespace kd {

struct Session {
  // Flags of every command.
  FleetOptions fleet;
  // Of the command that ran.
  int exit_code = kExitOk;
};

// Each adds its commands to `app`; a command leaves its exit code in `session`. Both outlive the parsing.
void AddSubmitCommand(CLI::App& app, Session& session);
void AddJobCommands(CLI::App& app, Session& session);     // get, describe, cancel, logs
void AddFollowCommands(CLI::App& app, Session& session);  // watch, wait
void AddCacheCommands(CLI::App& app, Session& session);   // cache stats
void AddDoctorCommand(CLI::App& app, Session& session);
void AddVersionCommand(CLI::App& app, Session& session);
void AddFileCommands(CLI::App& app, Session& session);  // validate, explain, schema, pull
void AddExportCommand(CLI::App& app, Session& session);
void AddNuscenesCommand(CLI::App& eval, Session& session);  // eval nuscenes
void AddFrameCommands(CLI::App& app, Session& session);     // data, eval, show
// These three after AddFrameCommands.
void AddDataCheckCommands(CLI::App& app, Session& session);   // data check, data stats
void AddDataPrepareCommand(CLI::App& app, Session& session);  // data prepare
void AddDataViewCommand(CLI::App& app, Session& session);     // data view
void AddWaymoCommands(CLI::App& app, Session& session);       // data dump waymo, eval waymo; after AddFrameCommands
void AddWeightsCommands(CLI::App& app, Session& session);     // teacher import, convert
void AddCompletionCommands(CLI::App& app, Session& session);

// The remedy for a job file that cannot be opened.
inline constexpr char kNameAJobFile[] =
    "name a job file, such as examples/student-sim-all.yaml; kdctl explain pair tells what stands in one";

// Reports a failed call of the fleet. `remedy` is for what only the command can mend; silence has one of its own.
ExitCode ReportFleetError(const absl::Status& status, absl::string_view remedy);

}  // namespace kd

#endif  // KD_CLIENT_SESSION_H_
