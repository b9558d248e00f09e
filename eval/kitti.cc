#include "eval/kitti.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "ops/rotated_iou.h"

namespace kd {
namespace {

constexpr int kRecallSteps = 40;

struct Difficulty {
  const char* name;
  double min_height;
  int max_occluded;
  double max_truncated;
};
constexpr Difficulty kDifficulties[] = {{"easy", 40, 0, 0.15}, {"moderate", 25, 1, 0.30}, {"hard", 25, 2, 0.50}};

struct ClassRule {
  const char* name;
  // A neighbouring class is neither right nor wrong.
  const char* neighbour;
  double strict, loose;
};
constexpr ClassRule kClasses[] = {
    {"Car", "Van", 0.7, 0.5}, {"Pedestrian", "Person_sitting", 0.5, 0.25}, {"Cyclist", "", 0.5, 0.25}};

enum class Metric { kBox2d, kBev, k3d };

using Overlaps = std::vector<std::vector<double>>;  // [label][detection]

double Box2dIntersection(const KittiObject& a, const KittiObject& b) {
  const double w = std::min(a.box2d[2], b.box2d[2]) - std::max(a.box2d[0], b.box2d[0]);
  const double h = std::min(a.box2d[3], b.box2d[3]) - std::max(a.box2d[1], b.box2d[1]);
  return w > 0 && h > 0 ? w * h : 0;
}

double Box2dArea(const KittiObject& o) { return (o.box2d[2] - o.box2d[0]) * (o.box2d[3] - o.box2d[1]); }

double Overlap(const KittiObject& label, const KittiObject& detection, Metric metric) {
  if (metric == Metric::kBox2d) {
    const double both = Box2dIntersection(label, detection);
    return both == 0 ? 0 : both / (Box2dArea(label) + Box2dArea(detection) - both);
  }
  // The camera's y axis points down: seen from above, rotation_y turns from x towards -z.
  const double area = RectangleIntersection(label.x, label.z, label.length, label.width, -label.rotation_y, detection.x,
                                            detection.z, detection.length, detection.width, -detection.rotation_y);
  if (metric == Metric::kBev) {
    const double joint = label.length * label.width + detection.length * detection.width - area;
    return joint > 0 ? area / joint : 0;
  }
  const double height =
      std::min(label.y, detection.y) - std::max(label.y - label.height, detection.y - detection.height);
  const double volume = area * std::max(height, 0.0);
  const double joint =
      label.length * label.width * label.height + detection.length * detection.width * detection.height - volume;
  return joint > 0 ? volume / joint : 0;
}

enum class State { kValid, kIgnored, kOther };

State StateOfLabel(const KittiObject& label, const ClassRule& rule, const Difficulty& difficulty) {
  if (*rule.neighbour != '\0' && absl::EqualsIgnoreCase(label.type, rule.neighbour)) return State::kIgnored;
  if (!absl::EqualsIgnoreCase(label.type, rule.name)) return State::kOther;
  const double height = label.box2d[3] - label.box2d[1];
  const bool too_hard = label.occluded > difficulty.max_occluded || label.truncated > difficulty.max_truncated ||
                        height <= difficulty.min_height;
  return too_hard ? State::kIgnored : State::kValid;
}

State StateOfDetection(const KittiObject& detection, const ClassRule& rule, const Difficulty& difficulty) {
  const int height = static_cast<int>(std::abs(detection.box2d[1] - detection.box2d[3]));
  if (height < difficulty.min_height) return State::kIgnored;
  return absl::EqualsIgnoreCase(detection.type, rule.name) ? State::kValid : State::kOther;
}

// One frame under one class and difficulty.
struct Case {
  const KittiFrame* frame;
  const Overlaps* overlaps;
  std::vector<State> labels, detections;
};

// First pass over one frame: scores of true positives.
void CollectScores(const Case& c, double min_overlap, std::vector<double>& scores) {
  std::vector<bool> assigned(c.detections.size());
  for (size_t i = 0; i < c.labels.size(); ++i) {
    if (c.labels[i] == State::kOther) continue;
    size_t best = c.detections.size();
    for (size_t j = 0; j < c.detections.size(); ++j) {
      if (c.detections[j] == State::kOther || assigned[j] || (*c.overlaps)[i][j] <= min_overlap) continue;
      if (best == c.detections.size() || c.frame->detections[j].score > c.frame->detections[best].score) best = j;
    }
    if (best == c.detections.size()) continue;
    assigned[best] = true;
    if (c.labels[i] == State::kValid && c.detections[best] == State::kValid)
      scores.push_back(c.frame->detections[best].score);
  }
}

// Scores at which recall passes the 41 steps. The running sum and the test stand as in the development kit: any other
// arithmetic flips exact ties.
std::vector<double> Thresholds(std::vector<double> scores, size_t num_valid) {
  std::sort(scores.begin(), scores.end(), std::greater<>());
  std::vector<double> thresholds;
  double current = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double left = static_cast<double>(i + 1) / static_cast<double>(num_valid);
    const bool last = i + 1 == scores.size();
    const double right = last ? left : static_cast<double>(i + 2) / static_cast<double>(num_valid);
    if (right - current < current - left && !last) continue;
    thresholds.push_back(scores[i]);
    current += 1.0 / kRecallSteps;
  }
  return thresholds;
}

struct Counts {
  double tp = 0, fp = 0, fn = 0, similarity = 0;
};

// Second pass over one frame at one score threshold.
void Count(const Case& c, Metric metric, double min_overlap, double threshold, Counts& counts) {
  const std::vector<KittiObject>& found = c.frame->detections;
  std::vector<bool> assigned(found.size());
  for (size_t i = 0; i < c.labels.size(); ++i) {
    if (c.labels[i] == State::kOther) continue;
    size_t best = found.size();
    double best_overlap = 0;
    bool best_ignored = false;
    for (size_t j = 0; j < found.size(); ++j) {
      if (c.detections[j] == State::kOther || assigned[j] || found[j].score < threshold) continue;
      const double overlap = (*c.overlaps)[i][j];
      if (overlap <= min_overlap) continue;
      if (c.detections[j] == State::kValid && (best == found.size() || best_ignored || overlap > best_overlap)) {
        best = j;
        best_overlap = overlap;
        best_ignored = false;
      } else if (c.detections[j] == State::kIgnored && best == found.size()) {
        best = j;
        best_ignored = true;
      }
    }
    if (best == found.size()) {
      counts.fn += c.labels[i] == State::kValid;
      continue;
    }
    assigned[best] = true;
    if (c.labels[i] != State::kValid || c.detections[best] != State::kValid) continue;
    ++counts.tp;
    counts.similarity += (1 + std::cos(c.frame->labels[i].alpha - found[best].alpha)) / 2;
  }
  for (size_t j = 0; j < found.size(); ++j) {
    if (assigned[j] || c.detections[j] != State::kValid || found[j].score < threshold) continue;
    bool excused = false;
    for (const KittiObject& label : c.frame->labels) {
      if (metric != Metric::kBox2d || excused || !absl::EqualsIgnoreCase(label.type, "DontCare")) continue;
      const double area = Box2dArea(found[j]);
      excused = area > 0 && Box2dIntersection(label, found[j]) / area > min_overlap;
    }
    counts.fp += !excused;
  }
}

KittiCurve CurveOf(std::array<double, kRecallSteps + 1> values) {
  KittiCurve result;
  for (int i = kRecallSteps; i-- > 0;) values[i] = std::max(values[i], values[i + 1]);
  result.curve = values;
  for (int i = 0; i <= kRecallSteps; ++i) {
    if (i % 4 == 0) result.r11 += values[i] / 11 * 100;
    if (i > 0) result.r40 += values[i] / kRecallSteps * 100;
  }
  return result;
}

struct Curves {
  KittiCurve precision, similarity;
};

Curves EvaluateOne(const std::vector<KittiFrame>& frames, const std::vector<Overlaps>& overlaps, const ClassRule& rule,
                   const Difficulty& difficulty, Metric metric, double min_overlap) {
  std::vector<Case> cases;
  std::vector<double> scores;
  size_t num_valid = 0;
  for (size_t f = 0; f < frames.size(); ++f) {
    Case& c = cases.emplace_back(Case{.frame = &frames[f], .overlaps = &overlaps[f]});
    for (const KittiObject& label : frames[f].labels) c.labels.push_back(StateOfLabel(label, rule, difficulty));
    for (const KittiObject& found : frames[f].detections)
      c.detections.push_back(StateOfDetection(found, rule, difficulty));
    num_valid += static_cast<size_t>(std::count(c.labels.begin(), c.labels.end(), State::kValid));
    CollectScores(c, min_overlap, scores);
  }
  std::array<double, kRecallSteps + 1> precision{}, similarity{};
  if (num_valid > 0) {
    const std::vector<double> thresholds = Thresholds(scores, num_valid);
    for (size_t t = 0; t < thresholds.size() && t < precision.size(); ++t) {
      Counts counts;
      for (const Case& c : cases) Count(c, metric, min_overlap, thresholds[t], counts);
      if (counts.tp + counts.fp == 0) continue;
      precision[t] = counts.tp / (counts.tp + counts.fp);
      similarity[t] = counts.similarity / (counts.tp + counts.fp);
    }
  }
  return {.precision = CurveOf(precision), .similarity = CurveOf(similarity)};
}

std::vector<Overlaps> AllOverlaps(const std::vector<KittiFrame>& frames, Metric metric) {
  std::vector<Overlaps> all;
  for (const KittiFrame& frame : frames) {
    Overlaps& rows = all.emplace_back();
    for (const KittiObject& label : frame.labels) {
      std::vector<double>& row = rows.emplace_back();
      const bool region = absl::EqualsIgnoreCase(label.type, "DontCare");
      for (const KittiObject& found : frame.detections) row.push_back(region ? 0 : Overlap(label, found, metric));
    }
  }
  return all;
}

}  // namespace

KittiResult EvaluateKitti(const std::vector<KittiFrame>& frames) {
  bool with_orientation = true;
  for (const KittiFrame& frame : frames) {
    for (const KittiObject& found : frame.detections) with_orientation = with_orientation && found.alpha != -10;
  }
  KittiResult result;
  for (const auto& [metric, name] : {std::pair{Metric::kBox2d, "bbox"}, {Metric::kBev, "bev"}, {Metric::k3d, "3d"}}) {
    const std::vector<Overlaps> overlaps = AllOverlaps(frames, metric);
    for (const ClassRule& rule : kClasses) {
      const bool named = std::any_of(frames.begin(), frames.end(), [&](const KittiFrame& frame) {
        return std::any_of(frame.detections.begin(), frame.detections.end(),
                           [&](const KittiObject& found) { return absl::EqualsIgnoreCase(found.type, rule.name); });
      });
      if (!named) continue;
      for (const Difficulty& difficulty : kDifficulties) {
        for (const char* set : {"strict", "loose"}) {
          const bool loose = std::string(set) == "loose" && metric != Metric::kBox2d;
          const Curves curves =
              EvaluateOne(frames, overlaps, rule, difficulty, metric, loose ? rule.loose : rule.strict);
          result[set][rule.name][name][difficulty.name] = curves.precision;
          if (metric == Metric::kBox2d && with_orientation)
            result[set][rule.name]["aos"][difficulty.name] = curves.similarity;
        }
      }
    }
  }
  return result;
}

absl::StatusOr<std::vector<KittiFrame>> ReadKittiFrames(const std::string& labels_folder,
                                                        const std::string& detections_folder,
                                                        const std::string& frames_file) {
  for (const std::string& folder : {labels_folder, detections_folder}) {
    std::error_code error;
    if (!std::filesystem::is_directory(folder, error)) {
      return absl::NotFoundError(absl::StrCat("\"", folder, "\" is not a folder; name one that holds FRAME.txt files"));
    }
  }
  std::vector<std::string> names;
  if (frames_file.empty()) {
    std::error_code error;
    for (std::filesystem::directory_iterator it(detections_folder, error), end; !error && it != end;
         it.increment(error)) {
      if (it->path().extension() == ".txt") names.push_back(it->path().stem().string());
    }
    if (error)
      return absl::UnavailableError(absl::StrCat("cannot list \"", detections_folder, "\": ", error.message()));
  } else {
    KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(frames_file));
    for (const absl::string_view line : absl::StrSplit(text, '\n')) {
      const absl::string_view name = absl::StripAsciiWhitespace(line);
      if (!name.empty()) names.emplace_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  if (names.empty())
    return absl::NotFoundError(absl::StrCat("no detection files (FRAME.txt) in \"", detections_folder, "\""));
  std::vector<KittiFrame> frames;
  for (const std::string& name : names) {
    KittiFrame& frame = frames.emplace_back();
    const std::string label_path = absl::StrCat(labels_folder, "/", name, ".txt");
    const std::string detection_path = absl::StrCat(detections_folder, "/", name, ".txt");
    KD_ASSIGN_OR_RETURN(const std::string labels, ReadFile(label_path));
    KD_ASSIGN_OR_RETURN(const std::string detections, ReadFile(detection_path));
    KD_ASSIGN_OR_RETURN(frame.labels, ParseKittiObjects(labels, KittiText::kLabels, label_path));
    KD_ASSIGN_OR_RETURN(frame.detections, ParseKittiObjects(detections, KittiText::kResults, detection_path));
  }
  return frames;
}

std::string KittiResultToJson(const KittiResult& result) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [set, classes] : result) {
    for (const auto& [name, metrics] : classes) {
      for (const auto& [metric, difficulties] : metrics) {
        for (const auto& [difficulty, curve] : difficulties) {
          json[set][name][metric][difficulty] = {{"R40", curve.r40}, {"R11", curve.r11}, {"curve", curve.curve}};
        }
      }
    }
  }
  return json.dump(1);
}

std::string KittiResultToTable(const KittiResult& result) {
  std::string table = absl::StrFormat("%-7s %-11s %-5s %31s   %31s\n%-7s %-11s %-5s %9s %10s %10s   %9s %10s %10s\n",
                                      "", "", "", "AP_R40", "AP_R11", "overlap", "class", "", "easy", "moderate",
                                      "hard", "easy", "moderate", "hard");
  for (const auto& [set, classes] : result) {
    for (const auto& [name, metrics] : classes) {
      for (const auto& [metric, d] : metrics) {
        absl::StrAppendFormat(&table, "%-7s %-11s %-5s %9.2f %10.2f %10.2f   %9.2f %10.2f %10.2f\n", set, name, metric,
                              d.at("easy").r40, d.at("moderate").r40, d.at("hard").r40, d.at("easy").r11,
                              d.at("moderate").r11, d.at("hard").r11);
      }
    }
  }
  return table;
}

}  // namespace kd
