// kdctl eval waymo and data dump waymo: scores and points of Waymo's own files, without a fleet.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "client/session.h"
#include "client/table.h"
#include "data/tfrecord.h"
#include "data/waymo_frame.h"
#include "eval/waymo.h"

namespace kd {
namespace {

struct EvalFlags {
  std::string ground_truths, detections, box_type = "3D", output = "table";
  std::vector<std::string> breakdowns = {"OBJECT_TYPE", "RANGE"};
};

int EvalWaymo(const EvalFlags& flags) {
  WaymoEvalOptions options{.breakdowns = {}, .bev = flags.box_type == "2D"};
  for (const std::string& name : flags.breakdowns) {
    const absl::StatusOr<WaymoBreakdown> breakdown = ParseWaymoBreakdown(name);
    if (!breakdown.ok())
      return ReportError(breakdown.status(), "name breakdowns, separated by commas: --breakdowns OBJECT_TYPE,RANGE");
    options.breakdowns.push_back(*breakdown);
  }
  const auto frames = ReadWaymoEvalFrames(flags.ground_truths, flags.detections);
  if (!frames.ok()) {
    return ReportError(frames.status(),
                       "give --ground-truths and --detections files that hold a serialized Objects message");
  }
  if (ShareNoFrame(*frames)) {
    Say(absl::StrCat("warning: no frame of ", flags.detections, " is in ", flags.ground_truths,
                     ", so every score is 0; are they of one split?"));
  }
  const std::vector<WaymoScore> scores = EvaluateWaymo(*frames, options);
  std::cout << (flags.output == "json" ? WaymoScoresToJson(scores) + "\n" : WaymoScoresToTable(scores));
  return kExitOk;
}

constexpr std::array<const char*, 6> kColumns = {"range", "intensity", "elongation", "x", "y", "z"};
// Points shown of each cloud, at even steps.
constexpr size_t kShownPoints = 400;

std::array<double, kColumns.size()> RowOf(const WaymoPoint& p) {
  return {p.range, p.intensity, p.elongation, p.position[0], p.position[1], p.position[2]};
}

// Rounded, so that JSON shows no more digits.
double Decimals(double value, int count) { return std::strtod(absl::StrFormat("%.*f", count, value).c_str(), nullptr); }

std::array<double, kColumns.size()> Mean(const WaymoCloud& cloud) {
  std::array<double, kColumns.size()> mean{};
  for (const WaymoPoint& point : cloud.points) {
    const auto row = RowOf(point);
    for (size_t k = 0; k < row.size(); ++k) mean[k] += row[k] / static_cast<double>(cloud.points.size());
  }
  return mean;
}

nlohmann::ordered_json ToJson(const WaymoCloud& cloud) {
  const size_t count = cloud.points.size(), shown = std::min(count, kShownPoints);
  std::vector<size_t> index;
  auto points = nlohmann::ordered_json::array(), positions = nlohmann::ordered_json::array();
  // As numpy.linspace(0, count - 1, shown) cut to whole numbers.
  const double step = shown == 1 ? 0 : static_cast<double>(count - 1) / static_cast<double>(shown - 1);
  for (size_t i = 0; i < shown; ++i) {
    index.push_back(i + 1 == shown ? count - 1 : static_cast<size_t>(static_cast<double>(i) * step));
    const WaymoPoint& point = cloud.points[index.back()];
    auto& row = points.emplace_back(nlohmann::ordered_json::array());
    for (const double value : RowOf(point)) row.push_back(Decimals(static_cast<float>(value), 5));
    auto& position = positions.emplace_back(nlohmann::ordered_json::array());
    for (const double value : point.position) position.push_back(Decimals(value, 6));
  }
  return {{"laser", cloud.laser}, {"ret", cloud.ret}, {"count", count},         {"mean", Mean(cloud)},
          {"index", index},       {"points", points}, {"xyz_double", positions}};
}

absl::Status Dump(const std::string& path, const std::string& output) {
  KD_ASSIGN_OR_RETURN(const TfRecordFile file, TfRecordFile::Open(path));
  auto frames = nlohmann::ordered_json::array();
  Table table{.columns = {{"frame"},
                          {"timestamp"},
                          {"laser"},
                          {"return"},
                          {"points"},
                          {"labels"},
                          {"mean range"},
                          {"mean intensity"},
                          {"mean x"},
                          {"mean y"},
                          {"mean z"}}};
  for (size_t i = 0; i < file.records().size(); ++i) {
    KD_ASSIGN_OR_RETURN(const std::string payload, file.Read(i));
    const absl::StatusOr<WaymoFrame> frame = ParseWaymoFrame(payload);
    if (!frame.ok()) return Annotate(frame.status(), file.Place(i));
    auto lasers = nlohmann::ordered_json::array();
    const auto add_row = [&](std::vector<std::string> cells) {
      table.rows.push_back({.name = frame->context, .cells = std::move(cells)});
    };
    const std::string number = absl::StrFormat("%03d", i), time = absl::StrCat(frame->timestamp_micros),
                      labels = absl::StrCat(frame->labels.size());
    for (const WaymoCloud& cloud : frame->clouds) {
      if (output == "json") {
        lasers.push_back(ToJson(cloud));
        continue;
      }
      const auto mean = Mean(cloud);
      const auto cell = [](double value) { return absl::StrFormat("%.3f", value); };
      add_row({number, time, WaymoLaserName(cloud.laser), absl::StrCat(cloud.ret), absl::StrCat(cloud.points.size()),
               labels, cell(mean[0]), cell(mean[1]), cell(mean[3]), cell(mean[4]), cell(mean[5])});
    }
    if (frame->clouds.empty()) add_row({number, time, "", "", "0", labels, "", "", "", "", ""});
    if (output == "json")
      frames.push_back({{"timestamp_micros", frame->timestamp_micros}, {"lasers", std::move(lasers)}});
  }
  if (output == "json") {
    std::cout << nlohmann::ordered_json{{"columns", kColumns}, {"frames", std::move(frames)}}.dump() << "\n";
  } else {
    std::cout << RenderTable(table, "table");
  }
  return absl::OkStatus();
}

void AddOutput(CLI::App& command, std::string& output) {
  command.add_option("-o,--output", output, "table or json")->check(CLI::IsMember({"table", "json"}));
}

}  // namespace

void AddWaymoCommands(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<EvalFlags>();
  CLI::App* eval =
      app.get_subcommand("eval")->add_subcommand("waymo", "Waymo's AP and APH of files of Objects messages");
  eval->footer(
      "Examples:\n"
      "  cd tests/golden/waymo/w01_small && kdctl eval waymo --ground-truths ground_truths.bin "
      "--detections predictions.bin\n"
      "  kdctl eval waymo --ground-truths gt.bin --detections found/detections.bin "
      "--breakdowns OBJECT_TYPE,SIZE --box-type 2D\n"
      "Where gt.bin comes from: docs/evaluation.md");
  eval->add_option("--ground-truths", flags->ground_truths, "File of labels")->required();
  eval->add_option("--detections", flags->detections, "File of detections, as submitted to a leaderboard")->required();
  eval->add_option("--breakdowns", flags->breakdowns,
                   absl::StrCat("Some of ", absl::StrJoin(WaymoBreakdownNames(), ",")))
      ->delimiter(',')
      ->capture_default_str();
  eval->add_option("--box-type", flags->box_type, "2D (seen from above) or 3D")
      ->check(CLI::IsMember({"2D", "3D"}))
      ->capture_default_str();
  AddOutput(*eval, flags->output);
  eval->callback([&session, flags] { session.exit_code = EvalWaymo(*flags); });

  struct DumpFlags {
    std::string path, output = "table";
  };
  const auto dump_flags = std::make_shared<DumpFlags>();
  CLI::App* dump =
      app.get_subcommand("data")->add_subcommand("dump", "What a data set's file holds")->require_subcommand(1);
  CLI::App* waymo = dump->add_subcommand("waymo", "Points of every frame of a segment, per laser and return");
  waymo->add_option("FILE", dump_flags->path, "segment-*.tfrecord")->required();
  AddOutput(*waymo, dump_flags->output);
  waymo->footer(
      "Examples, of a segment that kdctl data simulate --layout waymo --out out/waymo wrote:\n"
      "  kdctl data dump waymo out/waymo/training/segment-simulated_train_000000_with_camera_labels.tfrecord\n"
      "  kdctl data dump waymo out/waymo/training/segment-simulated_train_000000_with_camera_labels.tfrecord -o json");
  waymo->callback([&session, dump_flags] {
    const absl::Status status = Dump(dump_flags->path, dump_flags->output);
    session.exit_code =
        status.ok() ? kExitOk : ReportError(status, "name a segment of the Waymo Open Dataset v1 (segment-*.tfrecord)");
  });
}

}  // namespace kd
