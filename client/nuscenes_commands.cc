// kdctl eval nuscenes.
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "base/status.h"
#include "client/session.h"
#include "data/nuscenes_splits.h"
#include "data/nuscenes_tables.h"
#include "eval/nuscenes.h"
#include "eval/nuscenes_submission.h"

namespace kd {
namespace {

struct NuscenesFlags {
  std::string root, version, split = "val", detections, output = "table";
};

absl::StatusOr<NuscenesScores> Score(const NuscenesFlags& flags) {
  const std::string version = flags.version.empty() ? NuscenesSplitVersion(flags.split) : flags.version;
  KD_ASSIGN_OR_RETURN(const NuscenesTables tables, NuscenesTables::Open(flags.root, version));
  KD_ASSIGN_OR_RETURN(const std::vector<int32_t> samples, tables.SplitSamples(flags.split));
  KD_ASSIGN_OR_RETURN(std::vector<NuscenesDetections> detections,
                      ReadNuscenesSubmission(flags.detections, tables, samples));
  return EvaluateNuscenes(tables, std::move(detections));
}

int EvalNuscenes(const NuscenesFlags& flags) {
  const absl::StatusOr<NuscenesScores> scores = Score(flags);
  if (!scores.ok()) {
    return ReportError(
        scores.status(),
        "give --root the data set's folder, and --detections a submission for just the --split's samples");
  }
  std::cout << (flags.output == "json" ? NuscenesScoresToJson(*scores) + "\n" : NuscenesScoresToTable(*scores));
  return kExitOk;
}

}  // namespace

void AddNuscenesCommand(CLI::App& eval, Session& session) {
  const auto flags = std::make_shared<NuscenesFlags>();
  CLI::App* nuscenes = eval.add_subcommand("nuscenes", "Official nuScenes detection scores of a submission");
  nuscenes->add_option("--root", flags->root, "Folder that holds the tables' folder")->required();
  nuscenes->add_option("--version", flags->version, "Folder of the tables; default: the one that holds the split");
  nuscenes->add_option("--split", flags->split, "mini_train, mini_val, train or val")->capture_default_str();
  nuscenes->add_option("--detections", flags->detections, "Submission (JSON)")->required();
  nuscenes->add_option("-o,--output", flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  nuscenes->callback([&session, flags] { session.exit_code = EvalNuscenes(*flags); });
}

}  // namespace kd
