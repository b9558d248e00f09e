// kdctl data check and data stats: what a data set holds, and whether its boxes mean what they should.
#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/data_source.h"
#include "client/data_verdict.h"
#include "client/json.h"
#include "client/session.h"
#include "client/table.h"

namespace kd {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kRemedy[] = "name a data set that is there: --data ROOT --format FORMAT --split SPLIT";
constexpr size_t kShownConventions = 8;

struct CheckFlags {
  DataFlags data;
  size_t frames = 200;
  std::string output = "table";
};

struct Findings {
  explicit Findings(size_t classes) : survey(classes) {}

  FrameSurvey survey;
  ConventionEvidence evidence;
  // By index, so that the first one is the same on every run.
  std::map<size_t, absl::Status> failures;
};

enum class Depth { kCounts, kConventions };

absl::StatusOr<Findings> Look(const Dataset& dataset, const std::vector<std::string>& samples, Depth depth) {
  std::vector<Findings> parts(ReadingThreads(), Findings(dataset.class_names().size()));
  const absl::Status status =
      ForEachFrame(dataset, samples, 0, "read", [&](size_t thread, size_t index, absl::StatusOr<Frame> frame) {
        Findings& part = parts[thread];
        if (!frame.ok()) {
          part.failures[index] = frame.status();
          return absl::OkStatus();
        }
        part.survey.Add(*frame);
        if (depth == Depth::kConventions) part.evidence.Add(*frame);
        return absl::OkStatus();
      });
  if (!status.ok()) return status;
  for (size_t i = 1; i < parts.size(); ++i) {
    parts[0].survey.Add(parts[i].survey);
    parts[0].evidence.Add(parts[i].evidence);
    parts[0].failures.merge(parts[i].failures);
  }
  return std::move(parts[0]);
}

std::string Cell(double value) { return absl::StrFormat("%.2f", value); }
double Rounded(double value) { return std::strtod(absl::StrFormat("%.6g", value).c_str(), nullptr); }

constexpr int kPercents[] = {1, 5, 25, 50, 75, 95, 99};

Json ToJson(const Extent& e) {
  Json percentiles = Json::object();
  for (const int percent : kPercents) percentiles[absl::StrCat(percent)] = Rounded(e.Percentile(percent));
  return {{"least", Rounded(e.least)},
          {"most", Rounded(e.most)},
          {"mean", Rounded(e.spread.mean())},
          {"sd", Rounded(e.spread.deviation())},
          {"percentiles", std::move(percentiles)}};
}

// Median, and what nine of ten lie between.
std::string Cell(const Extent& e) {
  if (e.spread.count == 0) return "";
  return absl::StrFormat("%.2f (%.2f to %.2f)", e.Percentile(50), e.Percentile(5), e.Percentile(95));
}

std::string ColumnName(size_t column) {
  constexpr const char* kNames[] = {"x", "y", "z", "intensity"};
  return column < 4 ? kNames[column] : absl::StrCat("column ", column + 1);
}

double Share(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

Json SurveyToJson(const FrameSurvey& survey, const std::vector<std::string>& names, const SkippedFrames& skipped) {
  Json columns = Json::array(), classes = Json::array(), skips = Json::array();
  for (size_t k = 0; k < survey.columns.size(); ++k) {
    Json column = {{"name", ColumnName(k)}};
    column.update(ToJson(survey.columns[k]));
    columns.push_back(std::move(column));
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const ClassSurvey& c = survey.classes[i];
    classes.push_back({{"class", names[i]},
                       {"boxes", static_cast<uint64_t>(c.length.spread.count)},
                       {"length", ToJson(c.length)},
                       {"width", ToJson(c.width)},
                       {"height", ToJson(c.height)},
                       {"z", ToJson(c.z)},
                       {"points", c.points},
                       {"boxes_without_points", c.empty},
                       {"by_distance_10m", c.distances},
                       {"by_longer_side_1m", c.lengths}});
  }
  for (const auto& [name, kind] : skipped.kinds) {
    skips.push_back({{"frames", kind.samples.size()}, {"first", kind.first}, {"names", kind.samples}});
  }
  return {{"frames", {{"read", survey.frames}, {"without_boxes", survey.empty_frames}, {"skipped", skipped.count}}},
          {"points",
           {{"all", survey.points},
            {"per_frame", ToJson(survey.points_per_frame)},
            {"not_finite", survey.not_finite},
            {"share_in_boxes", Rounded(Share(survey.points_in_boxes, survey.points))}}},
          {"columns", std::move(columns)},
          {"ground_z", survey.ground.spread.count == 0 ? Json() : ToJson(survey.ground)},
          {"classes", std::move(classes)},
          {"skipped", std::move(skips)}};
}

void PrintSurvey(const FrameSurvey& survey, const std::vector<std::string>& names, const SkippedFrames& skipped) {
  std::cout << absl::StrFormat("frames: %d read, %d without boxes, %d skipped\n", survey.frames, survey.empty_frames,
                               skipped.count);
  for (const std::string& line : skipped.Lines()) std::cout << line << "\n";
  std::cout << absl::StrFormat("points: %.0f a frame, %d left out as not finite, %.2f %% in boxes\n\n",
                               survey.points_per_frame.spread.mean(), survey.not_finite,
                               100 * Share(survey.points_in_boxes, survey.points));
  Table measures{.columns = {{"what"}, {"least"}, {"5 %"}, {"50 %"}, {"95 %"}, {"most"}, {"mean"}}};
  const auto add = [&](const std::string& name, const Extent& e) {
    if (e.spread.count == 0) return;
    measures.rows.push_back({.cells = {name, Cell(e.least), Cell(e.Percentile(5)), Cell(e.Percentile(50)),
                                       Cell(e.Percentile(95)), Cell(e.most), Cell(e.spread.mean())}});
  };
  for (size_t k = 0; k < survey.columns.size(); ++k) add(ColumnName(k), survey.columns[k]);
  add("z of the ground", survey.ground);
  add("points a frame", survey.points_per_frame);
  Table classes{
      .columns = {{"class"}, {"boxes"}, {"length"}, {"width"}, {"height"}, {"z"}, {"points a box"}, {"without"}}};
  for (size_t i = 0; i < names.size(); ++i) {
    const ClassSurvey& c = survey.classes[i];
    const auto boxes = static_cast<uint64_t>(c.length.spread.count);
    classes.rows.push_back(
        {.cells = {names[i], absl::StrCat(boxes), Cell(c.length), Cell(c.width), Cell(c.height), Cell(c.z),
                   boxes == 0 ? "" : absl::StrFormat("%.1f", Share(c.points, boxes)), absl::StrCat(c.empty)}});
  }
  std::cout << RenderTable(measures, "table") << "\nsizes: median, and what nine of ten lie between\n"
            << RenderTable(classes, "table");
}

void PrintHistograms(const FrameSurvey& survey, const std::vector<std::string>& names) {
  Table distances{.columns = {{"class"}}}, lengths{.columns = {{"class"}}};
  const auto title = [](size_t i, size_t bins, size_t step) {
    return i + 1 == bins ? absl::StrCat(i * step, "+ m") : absl::StrCat(i * step, "-", (i + 1) * step, " m");
  };
  for (size_t i = 0; i < ClassSurvey::kDistances; ++i) {
    distances.columns.push_back({title(i, ClassSurvey::kDistances, ClassSurvey::kDistanceStep)});
  }
  for (size_t i = 0; i < ClassSurvey::kLengths; ++i) lengths.columns.push_back({title(i, ClassSurvey::kLengths, 1)});
  for (size_t c = 0; c < names.size(); ++c) {
    distances.rows.push_back({.cells = {names[c]}});
    lengths.rows.push_back({.cells = {names[c]}});
    for (const uint64_t n : survey.classes[c].distances) distances.rows.back().cells.push_back(absl::StrCat(n));
    for (const uint64_t n : survey.classes[c].lengths) lengths.rows.back().cells.push_back(absl::StrCat(n));
  }
  std::cout << "\nboxes by distance\n" << RenderTable(distances, "table");
  std::cout << "\nboxes by longer side\n" << RenderTable(lengths, "table");
}

// The declared one first, then by score.
std::vector<ConventionReport::Row> Ranked(const ConventionReport& report) {
  std::vector<ConventionReport::Row> rows = report.rows;
  std::stable_sort(rows.begin() + 1, rows.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  return rows;
}

void PrintConventions(const ConventionReport& report, const DataVerdict& verdict) {
  Table table{.columns = {{"boxes as if"}, {"score"}, {"gain"}, {"standard errors"}, {"better"}, {"worse"}}};
  for (const ConventionReport::Row& row : Ranked(report)) {
    if (table.rows.size() == kShownConventions) break;
    table.rows.push_back({.cells = {ConventionName(row.convention), absl::StrFormat("%.3f", row.score),
                                    absl::StrFormat("%+.3f", row.gain), absl::StrFormat("%.1f", row.errors),
                                    absl::StrCat(row.better), absl::StrCat(row.worse)}});
  }
  std::cout << "\n" << RenderTable(table, "table");
  if (!report.reversal_known()) std::cout << "heading off by 180 degrees: too few cars seen from both ends to tell\n";
  std::cout << "\nverdict: " << verdict.text << "\n";
}

Json ConventionsToJson(const ConventionReport& report, const DataVerdict& verdict) {
  Json rows = Json::array();
  for (const ConventionReport::Row& row : Ranked(report)) {
    rows.push_back({{"convention", ConventionName(row.convention)},
                    {"score", Rounded(row.score)},
                    {"gain", Rounded(row.gain)},
                    {"standard_errors", Rounded(row.errors)},
                    {"boxes_better", row.better},
                    {"boxes_worse", row.worse}});
  }
  return {{"boxes", report.boxes},          {"undecided", report.undecided()},
          {"conventions", std::move(rows)}, {"reversal_known", report.reversal_known()},
          {"fits", verdict.fits},           {"verdict", verdict.text},
          {"remedy", verdict.remedy}};
}

// After what was found in the others. `remedy` is for that; it may be empty.
int ReportSkipped(const SkippedFrames& skipped, size_t frames, const std::string& remedy) {
  std::cout.flush();
  if (skipped.count == 0) {
    if (!remedy.empty()) Say(absl::StrCat("do: ", remedy));
    return kExitOk;
  }
  return ReportError(
      absl::FailedPreconditionError(absl::StrCat(skipped.count, " of ", frames, " frames cannot be read")),
      absl::StrCat("mend the files that are named, or take the frames out of the split; -o json lists them all",
                   remedy.empty() ? "" : "; ", remedy));
}

int Run(const CheckFlags& flags, Depth depth) {
  const absl::StatusOr<OpenedData> opened = OpenData(flags.data, BoxSizes::kAny);
  if (!opened.ok()) return ReportError(opened.status(), kRemedy);
  const absl::StatusOr<std::vector<std::string>> split = opened->dataset->Split(flags.data.split);
  if (!split.ok()) return ReportError(split.status(), kRemedy);
  const std::vector<std::string> samples = SpreadOver(*split, flags.frames);
  const absl::StatusOr<Findings> findings = Look(*opened->dataset, samples, depth);
  if (!findings.ok()) return ReportError(findings.status(), kRemedy);
  SkippedFrames skipped;
  for (const auto& [index, failure] : findings->failures) skipped.Add(samples[index], failure);
  const FrameSurvey& survey = findings->survey;
  if (survey.frames == 0) {
    const absl::Status none =
        absl::InvalidArgumentError(absl::StrCat("split \"", flags.data.split, "\" names no frame"));
    return ReportError(skipped.count == 0 ? none : findings->failures.begin()->second,
                       "mend the files of the frames that the split names");
  }
  const std::vector<std::string>& names = opened->dataset->class_names();
  const bool json = flags.output == "json";
  Json out = json ? SurveyToJson(survey, names, skipped) : Json();
  if (!json) PrintSurvey(survey, names, skipped);
  if (depth == Depth::kCounts) {
    if (json) std::cout << JsonToText(out);
    if (!json) PrintHistograms(survey, names);
    return ReportSkipped(skipped, samples.size(), "");
  }
  const ConventionReport report = findings->evidence.Conclude();
  const DataVerdict verdict = JudgeData(report, survey, opened->data.format(), flags.data.intensity_scale);
  if (json) {
    out["check"] = ConventionsToJson(report, verdict);
    std::cout << JsonToText(out);
  } else {
    PrintConventions(report, verdict);
  }
  if (verdict.fits) return ReportSkipped(skipped, samples.size(), verdict.remedy);
  std::cout.flush();
  return ReportError(absl::FailedPreconditionError(verdict.text), verdict.remedy);
}

}  // namespace

void AddDataCheckCommands(CLI::App& app, Session& session) {
  const auto add = [&](const char* name, const char* use, Depth depth, size_t frames, const char* examples) {
    const auto flags = std::make_shared<CheckFlags>();
    flags->frames = frames;
    CLI::App* command = app.get_subcommand("data")->add_subcommand(name, use);
    AddDataFlags(*command, flags->data);
    command->add_option("--frames", flags->frames, "Read so many, at even steps; 0: all")->capture_default_str();
    command->add_option("-o,--output", flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
    command->footer(examples);
    command->callback([&session, flags, depth] { session.exit_code = Run(*flags, depth); });
  };
  add("check", "Whether boxes, points and units mean what they should; exit code 1 if not", Depth::kConventions, 200,
      "Examples:\n"
      "  kdctl data check --data out/sim                                   200 frames of split train\n"
      "  kdctl data check --data out/nuscenes --split mini_train\n"
      "  kdctl data check --data out/sim --classes Car --frames 0 -o json  all frames\n"
      "How it judges: docs/own-data.md");
  add("stats", "Boxes by class, size and distance, points and their ranges", Depth::kCounts, 0,
      "Examples:\n"
      "  kdctl data stats --data out/sim\n"
      "  kdctl data stats --data out/waymo --split val --classes Vehicle -o json");
}

}  // namespace kd
