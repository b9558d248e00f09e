#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/http/http_address.h"
#include "base/http/http_client.h"
#include "base/status.h"
#include "base/version.h"
#include "client/doctor.h"
#include "client/job_lines.h"
#include "core/pair.h"
#include "data/dataset.h"

namespace kd {
namespace {

using Finding = absl::StatusOr<std::string>;

// What checks learn for those after them.
struct Known {
  std::optional<v1::Fleet> fleet;
  std::optional<v1::Pair> pair;
  std::unique_ptr<Dataset> dataset;
  std::string sample;
};

absl::Status NotMade(absl::string_view ground) { return absl::CancelledError(absl::StrCat("not looked at: ", ground)); }

Finding FindPrograms() {
  std::error_code error;
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  std::vector<std::string> missing;
  for (const char* name : {"kd-coordinator", "kd-registry", "kd-teacher", "kd-worker"}) {
    if (::access((folder / name).c_str(), X_OK) != 0) missing.push_back(name);
  }
  if (missing.empty()) return absl::StrCat("the fleet's programs are in ", folder.string());
  return absl::NotFoundError(absl::StrCat(absl::StrJoin(missing, ", "), " missing in ", folder.string()));
}

Finding WriteHere() {
  std::error_code error;
  const std::string folder = std::filesystem::current_path(error).string();
  if (error || ::access(folder.c_str(), W_OK | X_OK) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("cannot write in ", folder.empty() ? "the current folder" : folder));
  }
  return absl::StrCat("can write in ", folder);
}

Finding MeasureFree(const std::string& folder, uint64_t wanted) {
  struct statvfs disk{};
  if (::statvfs(folder.c_str(), &disk) != 0) return absl::NotFoundError(absl::StrCat("cannot look at ", folder));
  const uint64_t bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (bytes >= wanted) return absl::StrCat(ShortBytes(bytes), " free for ", folder);
  return absl::ResourceExhaustedError(
      absl::StrCat(ShortBytes(bytes), " free for ", folder, ", ", ShortBytes(wanted), " wanted"));
}

Finding AskFleet(const FleetOptions& options, Known& known) {
  KD_ASSIGN_OR_RETURN(known.fleet, FleetClient(options).GetFleet());
  return absl::StrCat("the fleet at ", options.address, " answers; ", known.fleet->cpus(), " cores, ",
                      known.fleet->gpus(), " GPUs");
}

// "0.1" of "0.1.7".
std::string Minor(absl::string_view version) {
  const std::vector<std::string> parts = absl::StrSplit(version, '.');
  return parts.size() < 2 ? std::string(version) : absl::StrCat(parts[0], ".", parts[1]);
}

Finding CompareVersions(const Known& known) {
  if (!known.fleet.has_value()) return NotMade("no fleet");
  const std::string both = absl::StrCat("kdctl ", kVersion, ", fleet ", known.fleet->version());
  if (Minor(known.fleet->version()) == Minor(kVersion)) return both;
  return absl::FailedPreconditionError(both);
}

Finding FindFleetFolder(const Known& known) {
  if (!known.fleet.has_value()) return NotMade("no fleet");
  const std::string& folder = known.fleet->folder();
  if (::access(folder.c_str(), R_OK | X_OK) == 0) return absl::StrCat("jobs and logs are in ", folder);
  return absl::NotFoundError(absl::StrCat("this machine has no folder ", folder));
}

Finding LookAtTeachers(const FleetOptions& options, const Known& known) {
  if (!known.fleet.has_value()) return NotMade("no fleet");
  KD_ASSIGN_OR_RETURN(const v1::ListTeachersResponse teachers, FleetClient(options).ListTeachers());
  int ready = 0;
  for (const v1::TeacherReplica& teacher : teachers.teachers()) {
    if (teacher.state() == "lost")
      return absl::UnavailableError(absl::StrCat("teacher ", teacher.digest(), " is lost"));
    ready += teacher.state() == "ready";
  }
  return absl::StrCat(ready, " of ", teachers.teachers_size(), " teachers ready");
}

Finding AskRegistry(const Known& known) {
  if (!known.fleet.has_value()) return NotMade("no fleet");
  const std::string& url = known.fleet->registry_url();
  KD_ASSIGN_OR_RETURN(const HttpAddress address, ParseHttpUrl(url));
  HttpClient client(address, {.connect_timeout = absl::Seconds(2), .timeout = absl::Seconds(5)});
  KD_ASSIGN_OR_RETURN(const HttpAnswer answer, client.Call({.target = "/v2/"}));
  if (answer.status == 200) return absl::StrCat("the registry at ", url, " answers");
  return absl::UnavailableError(absl::StrCat(url, "/v2/ answers with status ", answer.status));
}

Finding ReadJobFile(const std::string& path, Known& known) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  KD_ASSIGN_OR_RETURN(known.pair, ParsePair(text, path));
  return absl::StrCat(path, " is valid");
}

Finding OpenData(Known& known) {
  if (!known.pair.has_value()) return NotMade("no valid job file");
  KD_ASSIGN_OR_RETURN(known.dataset, OpenDataset(known.pair->data()));
  return absl::StrCat(known.pair->data().root(), " has the layout \"", known.pair->data().format(), "\"");
}

Finding ReadSplits(Known& known) {
  if (known.dataset == nullptr) return NotMade("no data set");
  std::vector<std::string> found;
  for (const std::string& split : {known.pair->data().train_split(), known.pair->data().val_split()}) {
    KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, known.dataset->Split(split));
    if (samples.empty()) return absl::InvalidArgumentError(absl::StrCat("split \"", split, "\" has no frames"));
    found.push_back(absl::StrCat(samples.size(), " frames in ", split));
    if (known.sample.empty()) known.sample = samples.front();
  }
  return absl::StrJoin(found, ", ");
}

Finding ReadFirstFrame(const Known& known) {
  if (known.sample.empty()) return NotMade("no split");
  KD_ASSIGN_OR_RETURN(const Frame frame, known.dataset->Read(known.sample));
  return absl::StrCat("frame ", known.sample, " has ", frame.points.size() / 4, " points and ", frame.boxes.size(),
                      " boxes");
}

void AddDataChecks(const DoctorOptions& options, const std::shared_ptr<Known>& known, std::vector<Check>& checks) {
  const std::string& file = options.file;
  checks.push_back({"data.file", [file, known] { return ReadJobFile(file, *known); }, "kdctl explain pair"});
  checks.push_back({"data.root", [known] { return OpenData(*known); }, absl::StrCat("correct data.root in ", file)});
  checks.push_back({"data.splits", [known] { return ReadSplits(*known); },
                    absl::StrCat("correct data.train_split and data.val_split in ", file, ", or ImageSets/")});
  checks.push_back({"data.frame", [known] { return ReadFirstFrame(*known); }, "restore the file that is named"});
}

void AddFleetChecks(const DoctorOptions& options, const std::shared_ptr<Known>& known, std::vector<Check>& checks) {
  const FleetOptions fleet = options.fleet;
  checks.push_back({"fleet.answers", [fleet, known] { return AskFleet(fleet, *known); }, kStartAFleet});
  checks.push_back({"fleet.version", [known] { return CompareVersions(*known); },
                    "install one version of kdctl and of the fleet's programs"});
  checks.push_back({"fleet.folder", [known] { return FindFleetFolder(*known); },
                    "run kdctl on the fleet's machine: paths in job files are that machine's"});
  checks.push_back({"fleet.disk",
                    [known, wanted = options.min_free_bytes]() -> Finding {
                      if (!known->fleet.has_value()) return NotMade("no fleet");
                      return MeasureFree(known->fleet->folder(), wanted);
                    },
                    "free space for checkpoints and responses, or move the fleet's --folder"});
  checks.push_back(
      {"fleet.teachers", [fleet, known] { return LookAtTeachers(fleet, *known); }, "kdctl get teachers -o wide"});
  checks.push_back({"registry.answers", [known] { return AskRegistry(*known); },
                    "start kd-registry there, or the coordinator with another --registry"});
}

}  // namespace

std::vector<Check> DoctorChecks(const DoctorOptions& options) {
  const auto known = std::make_shared<Known>();
  std::vector<Check> checks;
  checks.push_back({"client.programs", FindPrograms, "build and install them beside kdctl (scripts/build)"});
  checks.push_back({"client.folder", WriteHere, "change to a folder of yours"});
  std::error_code error;
  const std::string here = std::filesystem::current_path(error).string();
  checks.push_back({"disk.free", [here, wanted = options.min_free_bytes] { return MeasureFree(here, wanted); },
                    "free some space, or work on another disk"});
  if (!options.file.empty()) AddDataChecks(options, known, checks);
  if (!options.pre) AddFleetChecks(options, known, checks);
  return checks;
}

}  // namespace kd
