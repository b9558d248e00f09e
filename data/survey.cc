#include "data/survey.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "data/box_frame.h"

namespace kd {
namespace {

constexpr size_t kShownKinds = 8;
constexpr double kNearGround = 3, kFarGround = 25, kGroundStep = 0.1;
constexpr size_t kFewestOnGround = 100;

template <size_t kSize>
void AddAll(std::array<uint64_t, kSize>& to, const std::array<uint64_t, kSize>& from) {
  for (size_t i = 0; i < kSize; ++i) to[i] += from[i];
}

// A reason without the words that hold a digit, a path or something quoted.
std::string KindOf(absl::string_view message) {
  std::vector<absl::string_view> words = absl::StrSplit(message, ' ', absl::SkipEmpty());
  const auto differs = [](absl::string_view word) {
    return std::any_of(word.begin(), word.end(),
                       [](unsigned char c) { return absl::ascii_isdigit(c) || c == '/' || c == '"'; });
  };
  words.erase(std::remove_if(words.begin(), words.end(), differs), words.end());
  return absl::StrJoin(words, " ");
}

}  // namespace

void Extent::Add(float value) {
  least = spread.count == 0 ? value : std::min(least, value);
  most = spread.count == 0 ? value : std::max(most, value);
  spread.Add(value);
  quantiles.Add(value);
}

void Extent::Add(const Extent& other) {
  if (other.spread.count == 0) return;
  least = spread.count == 0 ? other.least : std::min(least, other.least);
  most = spread.count == 0 ? other.most : std::max(most, other.most);
  spread.Add(other.spread);
  quantiles.Add(other.quantiles);
}

double Extent::Percentile(double percent) const { return std::clamp<double>(quantiles.At(percent / 100), least, most); }

std::optional<float> GroundHeight(const Frame& frame) {
  // By tenths of a metre; a layer is two of them.
  std::map<int, std::pair<size_t, double>> steps;
  for (size_t i = 0; i < frame.num_points(); ++i) {
    const float* p = &frame.points[i * frame.num_features];
    const double distance = std::hypot(p[0], p[1]);
    if (distance < kNearGround || distance > kFarGround || std::abs(p[2]) > kFarGround) continue;
    auto& [count, sum] = steps[static_cast<int>(std::floor(p[2] / kGroundStep))];
    ++count;
    sum += p[2];
  }
  size_t most = 0;
  double sum = 0;
  for (const auto& [step, lower] : steps) {
    const auto upper = steps.find(step + 1);
    const size_t count = lower.first + (upper == steps.end() ? 0 : upper->second.first);
    if (count <= most) continue;
    most = count;
    sum = lower.second + (upper == steps.end() ? 0 : upper->second.second);
  }
  if (most < kFewestOnGround) return std::nullopt;
  return static_cast<float>(sum / static_cast<double>(most));
}

void ClassSurvey::Add(const ClassSurvey& other) {
  length.Add(other.length);
  width.Add(other.width);
  height.Add(other.height);
  z.Add(other.z);
  points += other.points;
  empty += other.empty;
  AddAll(distances, other.distances);
  AddAll(lengths, other.lengths);
}

void FrameSurvey::Add(const Frame& frame) {
  const size_t features = frame.num_features, count = frame.num_points();
  ++frames;
  empty_frames += frame.boxes.empty();
  points += count;
  not_finite += frame.not_finite;
  points_per_frame.Add(static_cast<float>(count));
  if (const std::optional<float> height = GroundHeight(frame); height.has_value()) ground.Add(*height);
  if (columns.size() < features) columns.resize(features);
  for (size_t i = 0; i < count; ++i) {
    for (size_t k = 0; k < features; ++k) columns[k].Add(frame.points[i * features + k]);
  }
  std::vector<bool> taken(count);
  for (const LabeledBox& labelled : frame.boxes) {
    const Box3d& box = labelled.box;
    const BoxFrame own(box);
    const double radius = std::hypot(box.dx, box.dy) / 2;
    uint64_t inside = 0;
    for (size_t i = 0; i < count; ++i) {
      const float* p = &frame.points[i * features];
      if (std::abs(p[0] - box.x) > radius || std::abs(p[1] - box.y) > radius || !Holds(box, own.ToBox(p))) continue;
      ++inside;
      points_in_boxes += !taken[i];
      taken[i] = true;
    }
    ClassSurvey& survey = classes.at(labelled.label);
    survey.length.Add(box.dx);
    survey.width.Add(box.dy);
    survey.height.Add(box.dz);
    survey.z.Add(box.z);
    survey.points += inside;
    survey.empty += inside == 0;
    const auto bin = [](double value, double step, size_t bins) {
      return static_cast<size_t>(std::min(value / step, static_cast<double>(bins - 1)));
    };
    ++survey.distances[bin(std::hypot(box.x, box.y), ClassSurvey::kDistanceStep, ClassSurvey::kDistances)];
    ++survey.lengths[bin(std::max(box.dx, box.dy), 1, ClassSurvey::kLengths)];
  }
}

void FrameSurvey::Add(const FrameSurvey& other) {
  frames += other.frames;
  empty_frames += other.empty_frames;
  points += other.points;
  points_in_boxes += other.points_in_boxes;
  not_finite += other.not_finite;
  points_per_frame.Add(other.points_per_frame);
  ground.Add(other.ground);
  if (columns.size() < other.columns.size()) columns.resize(other.columns.size());
  for (size_t k = 0; k < other.columns.size(); ++k) columns[k].Add(other.columns[k]);
  for (size_t i = 0; i < classes.size(); ++i) classes[i].Add(other.classes.at(i));
}

void SkippedFrames::Add(const std::string& sample, const absl::Status& reason) {
  ++count;
  const std::string message(reason.message());
  Kind& kind = kinds[absl::StrCat(absl::StatusCodeToString(reason.code()), " ", KindOf(message))];
  if (kind.samples.empty()) kind.first = message;
  kind.samples.push_back(sample);
}

std::vector<std::string> SkippedFrames::Lines() const {
  std::vector<std::string> lines;
  uint64_t shown = 0;
  const auto frames = [](uint64_t n) { return absl::StrCat("skipped ", n, n == 1 ? " frame" : " frames"); };
  for (const auto& [name, kind] : kinds) {
    if (lines.size() == kShownKinds) {
      lines.push_back(absl::StrCat(frames(count - shown), " for ", kinds.size() - kShownKinds, " other reasons"));
      break;
    }
    lines.push_back(absl::StrCat(frames(kind.samples.size()), ", first ", kind.samples[0], ": ", kind.first));
    shown += kind.samples.size();
  }
  return lines;
}

}  // namespace kd
