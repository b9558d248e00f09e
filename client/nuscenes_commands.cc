// kdctl eval nuscenes.
#include <cstdint>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
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

constexpr char kMendSubmission[] = "mend the submission; docs/nuscenes-scores.md says what each field takes";

int EvalNuscenes(const NuscenesFlags& flags) {
  const std::string version = flags.version.empty() ? NuscenesSplitVersion(flags.split) : flags.version;
  const absl::StatusOr<NuscenesTables> tables = NuscenesTables::Open(flags.root, version);
  if (!tables.ok()) {
    return ReportError(tables.status(), absl::IsNotFound(tables.status())
                                            ? absl::StrCat("give --root the folder that holds ", version,
                                                           "/, or --version the name of another folder of tables there")
                                            : "unpack the tables anew");
  }
  const absl::StatusOr<std::vector<int32_t>> samples = tables->SplitSamples(flags.split);
  if (!samples.ok()) return ReportError(samples.status(), "name a split of these tables with --split");
  absl::StatusOr<std::vector<NuscenesDetections>> detections =
      ReadNuscenesSubmission(flags.detections, *tables, *samples);
  if (!detections.ok()) {
    return ReportError(detections.status(), absl::IsInvalidArgument(detections.status())
                                                ? kMendSubmission
                                                : "name a submission (JSON) with --detections");
  }
  const absl::StatusOr<NuscenesScores> scores = EvaluateNuscenes(*tables, *std::move(detections));
  if (absl::IsInvalidArgument(scores.status())) return ReportError(scores.status(), kMendSubmission);
  if (!scores.ok()) return ReportError(scores.status(), "give tables that are whole, and a split that has annotations");
  std::cout << (flags.output == "json" ? NuscenesScoresToJson(*scores) + "\n" : NuscenesScoresToTable(*scores));
  return kExitOk;
}

}  // namespace

void AddNuscenesCommand(CLI::App& eval, Session& session) {
  const auto flags = std::make_shared<NuscenesFlags>();
  CLI::App* nuscenes = eval.add_subcommand("nuscenes", "Official nuScenes detection scores of a submission");
  nuscenes->footer(
      "Examples:\n"
      "  cd tests/golden/nuscenes/n01_small && kdctl eval nuscenes --root . --split mini_val "
      "--detections submission.json\n"
      "  kdctl eval nuscenes --root /data/nuscenes --split val --detections found/submission.json -o json\n"
      "What a submission may hold: docs/nuscenes-scores.md");
  nuscenes->add_option("--root", flags->root, "Folder that holds the tables' folder")->required();
  nuscenes->add_option("--version", flags->version, "Folder of the tables; default: the one that holds the split");
  nuscenes->add_option("--split", flags->split, "mini_train, mini_val, train or val")->capture_default_str();
  nuscenes->add_option("--detections", flags->detections, "Submission (JSON)")->required();
  nuscenes->add_option("-o,--output", flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  nuscenes->callback([&session, flags] { session.exit_code = EvalNuscenes(*flags); });
}

}  // namespace kd
