#include "eval/nuscenes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "base/text.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

constexpr double kUndefined = std::numeric_limits<double>::quiet_NaN();
constexpr int kSteps = 100;
constexpr int kFirstStep = 11;  // Recall of at most 0.1 does not count.
constexpr double kMinPrecision = 0.1;
constexpr double kErrorDistance = 2;
constexpr double kMeanApWeight = 5;
constexpr int kOrientation = 2, kVelocity = 3, kAttribute = 4;

using Curve = std::array<double, kSteps + 1>;

bool IsDefined(int label, int error) {
  static const int kBarrier = NuscenesClassIndex("barrier"), kCone = NuscenesClassIndex("traffic_cone");
  if (label == kCone) return error < kOrientation;
  return label != kBarrier || error < kVelocity;
}

double GroundDistance(const Vec3& a, const Vec3& b) {
  const double x = a[0] - b[0], y = a[1] - b[1];
  return std::sqrt(x * x + y * y);
}

// Of boxes with the same centre and heading.
double SizeIou(const Vec3& a, const Vec3& b) {
  double both = 1, volume_a = 1, volume_b = 1;
  for (int i = 0; i < 3; ++i) {
    both *= std::min(a[i], b[i]);
    volume_a *= a[i];
    volume_b *= b[i];
  }
  return both / (volume_a + volume_b - both);
}

// Smallest angle between two headings of which `period` is a full turn.
double YawDifference(double a, double b, double period) {
  const double turns = (a - b) / period;
  return std::abs(turns - std::round(turns)) * period;
}

std::array<double, kNuscenesErrors.size()> ErrorsOf(const NuscenesBox& label, const NuscenesBox& found) {
  static const int kBarrier = NuscenesClassIndex("barrier");
  const double vx = found.velocity[0] - label.velocity[0], vy = found.velocity[1] - label.velocity[1];
  return {GroundDistance(label.center, found.center), 1 - SizeIou(label.size, found.size),
          YawDifference(label.yaw, found.yaw, label.label == kBarrier ? M_PI : 2 * M_PI), std::sqrt(vx * vx + vy * vy),
          label.attribute < 0 ? kUndefined : static_cast<double>(label.attribute != found.attribute)};
}

// Linear interpolation of `y` over the ascending `x`. On an exact hit of equal ones the last counts; left of all the
// first value, right of all `right`.
class Interpolation {
 public:
  Interpolation(absl::Span<const double> x, absl::Span<const double> y, double right) : x_(x), y_(y), right_(right) {}

  double At(double x) const {
    const auto above = std::upper_bound(x_.begin(), x_.end(), x);
    if (above == x_.begin()) return y_.front();
    const size_t i = static_cast<size_t>(above - x_.begin()) - 1;
    if (x_[i] == x) return y_[i];
    if (above == x_.end()) return right_;
    const double slope = (y_[i + 1] - y_[i]) / (x_[i + 1] - x_[i]);
    // Between infinite values as NumPy does: from the left, else from the right, else what both are.
    if (const double y = slope * (x - x_[i]) + y_[i]; !std::isnan(y)) return y;
    const double y = slope * (x - x_[i + 1]) + y_[i + 1];
    return std::isnan(y) && y_[i] == y_[i + 1] ? y_[i] : y;
  }

 private:
  const absl::Span<const double> x_, y_;
  const double right_;
};

// Mean of the values up to each, leaving out NaN: 0 while there is none, 1 everywhere if there is none at all.
std::vector<double> RunningMean(const std::vector<double>& values) {
  std::vector<double> means;
  double sum = 0;
  size_t count = 0;
  for (const double value : values) {
    if (!std::isnan(value)) {
      sum += value;
      ++count;
    }
    means.push_back(count == 0 ? 0 : sum / static_cast<double>(count));
  }
  if (count == 0) std::fill(means.begin(), means.end(), 1.0);
  return means;
}

double MeanFrom(const Curve& curve, int first, int last) {
  double sum = 0;
  for (int i = first; i <= last; ++i) sum += curve[i];
  return sum / (last - first + 1);
}

// A detection with the labels of its class and sample that it could match at some distance, nearest first.
struct Candidate {
  double distance;
  uint32_t label;  // Index into the class's labels.
};
struct Found {
  const NuscenesBox* box;
  const NuscenesEvalSample* sample;
  size_t first_candidate, last_candidate;
};

// All boxes of one class.
struct ClassBoxes {
  std::vector<const NuscenesBox*> labels;
  std::vector<Found> found;  // The best score first.
  std::vector<Candidate> candidates;
};

ClassBoxes BoxesOf(absl::Span<const NuscenesEvalSample> samples, int label) {
  ClassBoxes boxes;
  for (const NuscenesEvalSample& sample : samples) {
    const size_t first_label = boxes.labels.size();
    for (const NuscenesBox& box : sample.labels) {
      if (box.label == label) boxes.labels.push_back(&box);
    }
    for (const NuscenesBox& box : sample.detections) {
      if (box.label != label) continue;
      const size_t first = boxes.candidates.size();
      for (size_t i = first_label; i < boxes.labels.size(); ++i) {
        const double distance = GroundDistance(boxes.labels[i]->center, box.center);
        if (distance < kNuscenesDistances.back()) boxes.candidates.push_back({distance, static_cast<uint32_t>(i)});
      }
      std::stable_sort(boxes.candidates.begin() + static_cast<std::ptrdiff_t>(first), boxes.candidates.end(),
                       [](const Candidate& a, const Candidate& b) { return a.distance < b.distance; });
      boxes.found.push_back(
          {.box = &box, .sample = &sample, .first_candidate = first, .last_candidate = boxes.candidates.size()});
    }
  }
  std::reverse(boxes.found.begin(), boxes.found.end());
  std::stable_sort(boxes.found.begin(), boxes.found.end(),
                   [](const Found& a, const Found& b) { return a.box->score > b.box->score; });
  return boxes;
}

struct Match {
  const NuscenesBox* label;
  const NuscenesBox* found;
};

// The curves of one class at one distance.
struct Matching {
  std::vector<Match> matches;  // The best score first.
  Curve precision{}, score{};
};

absl::Status CheckSize(const Found& found) {
  const NuscenesBox& box = *found.box;
  if (std::all_of(box.size.begin(), box.size.end(), [](double v) { return v > 0; })) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "sample ", Quoted(found.sample->name), ": the ", kNuscenesClasses[box.label].name, " of score ", box.score,
      " is ", absl::StrJoin(box.size, " x "), " m large and matches a label; sizes must be above 0"));
}

// Below the last recall that is reached the curve is 0, and scores below that would rise to it.
absl::Status CheckScores(const Curve& scores, int label, double distance) {
  const auto rises = [](double a, double b) { return !(a >= b); };  // Or cannot tell, between infinite ones.
  if (std::adjacent_find(scores.begin(), scores.end(), rises) == scores.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("class ", kNuscenesClasses[label].name, ": scores fall below 0 before all labels are found within ",
                   distance, " m, which has no meaning; give every box a detection_score of at least 0"));
}

absl::StatusOr<Matching> MatchAt(const ClassBoxes& boxes, int label, double distance) {
  Matching result;
  std::vector<bool> taken(boxes.labels.size());
  std::vector<double> precision, recall, score;
  for (const Found& found : boxes.found) {
    for (size_t i = found.first_candidate; i < found.last_candidate; ++i) {
      const Candidate& candidate = boxes.candidates[i];
      if (candidate.distance >= distance) break;
      if (taken[candidate.label]) continue;
      KD_RETURN_IF_ERROR(CheckSize(found));
      taken[candidate.label] = true;
      result.matches.push_back({.label = boxes.labels[candidate.label], .found = found.box});
      break;
    }
    const auto hits = static_cast<double>(result.matches.size());
    score.push_back(found.box->score);
    precision.push_back(hits / static_cast<double>(score.size()));
    recall.push_back(hits / static_cast<double>(boxes.labels.size()));
  }
  if (result.matches.empty()) return result;
  const Interpolation precision_at(recall, precision, 0), score_at(recall, score, 0);
  for (int i = 0; i <= kSteps; ++i) {
    const double step = i == kSteps ? 1 : i * (1.0 / kSteps);
    result.precision[i] = precision_at.At(step);
    result.score[i] = score_at.At(step);
  }
  KD_RETURN_IF_ERROR(CheckScores(result.score, label, distance));
  return result;
}

double AveragePrecision(const Matching& matching) {
  Curve above{};
  for (int i = 0; i <= kSteps; ++i) above[i] = std::max(matching.precision[i] - kMinPrecision, 0.0);
  return MeanFrom(above, kFirstStep, kSteps) / (1 - kMinPrecision);
}

double MeanError(const Matching& matching, const std::vector<double>& errors) {
  int last = kSteps;
  while (last >= 0 && matching.score[last] == 0) --last;
  if (last < kFirstStep) return 1;
  std::vector<double> means = RunningMean(errors), scores;
  for (const Match& match : matching.matches) scores.push_back(match.found->score);
  std::reverse(means.begin(), means.end());
  std::reverse(scores.begin(), scores.end());
  const Interpolation error_at(scores, means, means.back());
  Curve curve{};
  for (int i = kFirstStep; i <= last; ++i) curve[i] = error_at.At(matching.score[i]);
  return MeanFrom(curve, kFirstStep, last);
}

absl::StatusOr<NuscenesClassScores> ScoreClass(absl::Span<const NuscenesEvalSample> samples, int label) {
  NuscenesClassScores scores;
  for (size_t e = 0; e < scores.errors.size(); ++e)
    scores.errors[e] = IsDefined(label, static_cast<int>(e)) ? 1 : kUndefined;
  const ClassBoxes boxes = BoxesOf(samples, label);
  if (boxes.labels.empty()) return scores;
  for (size_t d = 0; d < kNuscenesDistances.size(); ++d) {
    KD_ASSIGN_OR_RETURN(const Matching matching, MatchAt(boxes, label, kNuscenesDistances[d]));
    scores.ap[d] = AveragePrecision(matching);
    scores.mean_ap += scores.ap[d] / static_cast<double>(kNuscenesDistances.size());
    if (kNuscenesDistances[d] != kErrorDistance) continue;
    std::array<std::vector<double>, kNuscenesErrors.size()> errors;
    for (const Match& match : matching.matches) {
      const auto values = ErrorsOf(*match.label, *match.found);
      for (size_t e = 0; e < errors.size(); ++e) errors[e].push_back(values[e]);
    }
    for (size_t e = 0; e < errors.size(); ++e) {
      if (IsDefined(label, static_cast<int>(e))) scores.errors[e] = MeanError(matching, errors[e]);
    }
  }
  return scores;
}

bool IsInside(const Vec3& point, const NuscenesAnnotation& box) {
  const Vec3 local = box.box_to_global.Inverse().Apply(point);
  return std::abs(local[0]) <= box.size[1] / 2 && std::abs(local[1]) <= box.size[0] / 2 &&
         std::abs(local[2]) <= box.size[2] / 2;
}

// What a sample's filters ask about a place.
struct Surroundings {
  Vec3 ego{};
  std::vector<const NuscenesAnnotation*> racks;

  bool Keep(const NuscenesBox& box) const {
    static const int kBicycle = NuscenesClassIndex("bicycle"), kMotorcycle = NuscenesClassIndex("motorcycle");
    if (!(GroundDistance(box.center, ego) < kNuscenesClasses[box.label].range)) return false;
    if (box.label != kBicycle && box.label != kMotorcycle) return true;
    return std::none_of(racks.begin(), racks.end(),
                        [&](const NuscenesAnnotation* rack) { return IsInside(box.center, *rack); });
  }
};

absl::StatusOr<std::vector<NuscenesBox>> LabelsOf(const NuscenesTables& tables, int32_t sample,
                                                  const Surroundings& surroundings) {
  std::vector<NuscenesBox> labels;
  for (const int32_t i : tables.AnnotationsOf(sample)) {
    const NuscenesAnnotation& annotation = tables.annotations()[i];
    if (annotation.label < 0) continue;
    if (annotation.num_attributes > 1) {
      return absl::DataLossError(absl::StrCat(
          tables.root(), "/", tables.version(), "/sample_annotation.json: record ",
          FormatNuscenesToken(annotation.token), ": field \"attribute_tokens\" holds ", annotation.num_attributes,
          " attributes, an evaluated object may have one; unpack nuScenes's metadata archive anew"));
    }
    const NuscenesBox box = {.center = annotation.box_to_global.translation,
                             .size = annotation.size,
                             .yaw = annotation.box_to_global.Yaw(),
                             .velocity = tables.Velocity(annotation),
                             .label = annotation.label,
                             .attribute = annotation.attribute};
    const bool seen = annotation.num_lidar_points > 0 || annotation.num_radar_points > 0;
    if (seen && surroundings.Keep(box)) labels.push_back(box);
  }
  return labels;
}

}  // namespace

absl::StatusOr<NuscenesScores> ScoreNuscenes(absl::Span<const NuscenesEvalSample> samples) {
  NuscenesScores scores;
  for (const NuscenesEvalSample& sample : samples) {
    scores.num_labels += sample.labels.size();
    scores.num_detections += sample.detections.size();
  }
  for (size_t c = 0; c < scores.classes.size(); ++c) {
    KD_ASSIGN_OR_RETURN(scores.classes[c], ScoreClass(samples, static_cast<int>(c)));
    scores.mean_ap += scores.classes[c].mean_ap / static_cast<double>(scores.classes.size());
  }
  scores.nds = kMeanApWeight * scores.mean_ap;
  for (size_t e = 0; e < scores.errors.size(); ++e) {
    int count = 0;
    for (const NuscenesClassScores& of_class : scores.classes) {
      if (std::isnan(of_class.errors[e])) continue;
      scores.errors[e] += of_class.errors[e];
      ++count;
    }
    scores.errors[e] /= count;
    scores.error_scores[e] = std::max(0.0, 1 - scores.errors[e]);
    scores.nds += scores.error_scores[e];
  }
  scores.nds /= kMeanApWeight + static_cast<double>(scores.errors.size());
  return scores;
}

absl::StatusOr<NuscenesScores> EvaluateNuscenes(const NuscenesTables& tables,
                                                std::vector<NuscenesDetections> detections) {
  if (tables.annotations().empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(tables.root(), "/", tables.version(),
                     "/sample_annotation.json holds no annotations to evaluate against; "
                     "name a version and split that are labelled, such as v1.0-trainval and val"));
  }
  std::vector<NuscenesEvalSample> samples;
  for (NuscenesDetections& of_sample : detections) {
    KD_ASSIGN_OR_RETURN(const NuscenesRecording* const lidar, tables.KeyFrame(of_sample.sample, kNuscenesLidar));
    Surroundings surroundings{.ego = tables.poses()[lidar->pose].translation};
    for (const int32_t i : tables.AnnotationsOf(of_sample.sample)) {
      if (tables.annotations()[i].is_bicycle_rack) surroundings.racks.push_back(&tables.annotations()[i]);
    }
    NuscenesEvalSample& sample = samples.emplace_back();
    sample.name = FormatNuscenesToken(tables.samples()[of_sample.sample].token);
    KD_ASSIGN_OR_RETURN(sample.labels, LabelsOf(tables, of_sample.sample, surroundings));
    sample.detections = std::move(of_sample.boxes);
    std::erase_if(sample.detections, [&](const NuscenesBox& box) { return !surroundings.Keep(box); });
  }
  return ScoreNuscenes(samples);
}

std::string NuscenesScoresToJson(const NuscenesScores& scores) {
  nlohmann::ordered_json json;
  const auto by_error = [](const auto& values) {
    nlohmann::ordered_json object;
    for (size_t e = 0; e < kNuscenesErrors.size(); ++e) object[kNuscenesErrors[e]] = values[e];
    return object;
  };
  for (size_t c = 0; c < kNuscenesClasses.size(); ++c) {
    for (size_t d = 0; d < kNuscenesDistances.size(); ++d) {
      json["label_aps"][kNuscenesClasses[c].name][absl::StrFormat("%.1f", kNuscenesDistances[d])] =
          scores.classes[c].ap[d];
    }
  }
  for (size_t c = 0; c < kNuscenesClasses.size(); ++c)
    json["mean_dist_aps"][kNuscenesClasses[c].name] = scores.classes[c].mean_ap;
  json["mean_ap"] = scores.mean_ap;
  for (size_t c = 0; c < kNuscenesClasses.size(); ++c)
    json["label_tp_errors"][kNuscenesClasses[c].name] = by_error(scores.classes[c].errors);
  json["tp_errors"] = by_error(scores.errors);
  json["tp_scores"] = by_error(scores.error_scores);
  json["nd_score"] = scores.nds;
  json["boxes_after_filter"] = {{"gt", scores.num_labels}, {"pred", scores.num_detections}};
  return json.dump(1);
}

std::string NuscenesScoresToTable(const NuscenesScores& scores) {
  std::string table = absl::StrFormat("%-21s %6s %6s %6s %6s %6s   %6s %6s %6s %6s %6s\n", "AP in %, at metres:", "0.5",
                                      "1.0", "2.0", "4.0", "mean", "ATE", "ASE", "AOE", "AVE", "AAE");
  const auto append_errors = [&](const auto& errors) {
    for (const double error : errors)
      absl::StrAppend(&table, " ", std::isnan(error) ? "     -" : absl::StrFormat("%6.3f", error));
    absl::StrAppend(&table, "\n");
  };
  for (size_t c = 0; c < kNuscenesClasses.size(); ++c) {
    const NuscenesClassScores& of_class = scores.classes[c];
    absl::StrAppendFormat(&table, "%-21s", kNuscenesClasses[c].name);
    for (const double ap : of_class.ap) absl::StrAppendFormat(&table, " %6.2f", 100 * ap);
    absl::StrAppendFormat(&table, " %6.2f  ", 100 * of_class.mean_ap);
    append_errors(of_class.errors);
  }
  absl::StrAppendFormat(&table, "%-21s %6s %6s %6s %6s %6.2f  ", "mAP, mean errors", "", "", "", "",
                        100 * scores.mean_ap);
  append_errors(scores.errors);
  absl::StrAppendFormat(&table, "NDS %.2f %% over %d labels and %d detections within range\n", 100 * scores.nds,
                        scores.num_labels, scores.num_detections);
  return table;
}

}  // namespace kd
