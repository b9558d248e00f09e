#include "eval/waymo.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "data/waymo.pb.h"
#include "eval/assignment.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "nlohmann/json.hpp"
#include "ops/rotated_iou.h"

namespace kd {
namespace {

constexpr int kLevels = 2;
constexpr int kEasyPoints = 6;
constexpr double kSmallestSide = 0.01;
constexpr double kLargeObject = 7;
// With so much of an object of another speed in it, a detection is no false one.
constexpr float kOtherSpeedOverlap = 0.01f;
constexpr float kRecallStep = 0.05f;
constexpr float kRecallTolerance = 1e-6f;
constexpr double kWeightOfFullOverlap = 1e6;
// Nothing on a road is farther, larger or faster.
constexpr double kLargestNumber = 1e6;

constexpr int kTypes[] = {kWaymoVehicle, kWaymoPedestrian, kWaymoSign, kWaymoCyclist};

float MinimumOverlap(int type) { return type == kWaymoVehicle ? 0.7f : 0.5f; }

float Cutoff(int i) { return static_cast<float>(i * 0.01); }

// One part of a breakdown.
struct Shard {
  std::string name;
  WaymoBreakdown breakdown;
  // Who takes part in the matching.
  std::function<bool(const WaymoEvalObject&)> has;
  // Whose matches and misses are counted, among these; null: all.
  std::function<bool(const WaymoEvalObject&)> counts;
};

std::string TypeName(int type) { return absl::StrCat("TYPE_", absl::AsciiStrToUpper(WaymoTypeName(type))); }

// [from, to) of some measure.
struct Bin {
  const char* name;
  double from, to;
};
constexpr Bin kRanges[] = {{"[0, 30)", 0, 30}, {"[30, 50)", 30, 50}, {"[50, +inf)", 50, HUGE_VAL}};
constexpr Bin kSizes[] = {{"small", 0, kLargeObject}, {"large", kLargeObject, HUGE_VAL}};
constexpr Bin kSpeeds[] = {
    {"STATIONARY", 0, 0.2}, {"SLOW", 0.2, 1}, {"MEDIUM", 1, 3}, {"FAST", 3, 10}, {"VERY_FAST", 10, HUGE_VAL}};

bool Within(const Bin& bin, double value) { return value >= bin.from && value < bin.to; }

// `bev`: boxes are flat on the ground, z and height 0.
void AddShards(WaymoBreakdown breakdown, bool bev, std::vector<Shard>& shards) {
  const std::string& prefix = WaymoBreakdownNames()[static_cast<size_t>(breakdown)];
  if (breakdown == WaymoBreakdown::kOneShard) {
    shards.push_back({prefix, breakdown, [](const WaymoEvalObject& o) { return true; }, nullptr});
    return;
  }
  if (breakdown == WaymoBreakdown::kAllButSign) {
    shards.push_back({prefix, breakdown, [](const WaymoEvalObject& o) { return o.type != kWaymoSign; }, nullptr});
    shards.push_back({"SIGN", breakdown, [](const WaymoEvalObject& o) { return o.type == kWaymoSign; }, nullptr});
    return;
  }
  for (const int type : kTypes) {
    const std::string name = absl::StrCat(prefix, "_", TypeName(type));
    const auto of_type = [type](const WaymoEvalObject& o) { return o.type == type; };
    if (breakdown == WaymoBreakdown::kObjectType) shards.push_back({name, breakdown, of_type, nullptr});
    if (breakdown == WaymoBreakdown::kRange) {
      for (const Bin& bin : kRanges) {
        const auto has = [type, bin, bev](const WaymoEvalObject& o) {
          return o.type == type && Within(bin, std::hypot(o.x, o.y, bev ? 0 : o.z));
        };
        shards.push_back({absl::StrCat(name, "_", bin.name), breakdown, has, nullptr});
      }
    }
    if (breakdown == WaymoBreakdown::kSize) {
      for (const Bin& bin : kSizes) {
        const auto has = [type, bin, bev](const WaymoEvalObject& o) {
          return o.type == type && Within(bin, std::max({o.length, o.width, bev ? 0 : o.height}));
        };
        shards.push_back({absl::StrCat(name, "_", bin.name), breakdown, has, nullptr});
      }
    }
    if (breakdown == WaymoBreakdown::kVelocity) {
      for (const Bin& bin : kSpeeds) {
        const auto counts = [bin](const WaymoEvalObject& o) { return Within(bin, std::hypot(o.speed_x, o.speed_y)); };
        shards.push_back({absl::StrCat(name, "_", bin.name), breakdown, of_type, counts});
      }
    }
  }
}

float Overlap(const WaymoEvalObject& a, const WaymoEvalObject& b, bool bev) {
  const auto flat = [bev](const WaymoEvalObject& o) {
    return o.length <= kSmallestSide || o.width <= kSmallestSide || (!bev && o.height <= kSmallestSide);
  };
  if (flat(a) || flat(b)) return 0;
  double both = RectangleIntersection(a.x, a.y, a.length, a.width, a.heading, b.x, b.y, b.length, b.width, b.heading);
  double joint = a.length * a.width + b.length * b.width - both;
  if (!bev) {
    const double top = std::min(a.z + a.height / 2, b.z + b.height / 2);
    const double bottom = std::max(a.z - a.height / 2, b.z - b.height / 2);
    both *= std::max(top - bottom, 0.0);
    joint = a.length * a.width * a.height + b.length * b.width * b.height - both;
  }
  return joint > 0 ? static_cast<float>(std::clamp(both / joint, 0.0, 1.0)) : 0;
}

// Indices into a frame's objects of one type that touch.
struct Pair {
  int detection, ground_truth;
  float overlap;
};

// A frame with the ground truths that count, and levels for them.
struct Case {
  const WaymoEvalFrame* frame;
  std::vector<const WaymoEvalObject*> ground_truths;
  std::vector<int> levels;
  std::vector<Pair> pairs;
};

Case Prepare(const WaymoEvalFrame& frame, bool bev) {
  Case c{.frame = &frame};
  for (const WaymoEvalObject& truth : frame.ground_truths) {
    if (truth.num_points <= 0 || truth.type == kWaymoUnknown) continue;
    c.ground_truths.push_back(&truth);
    c.levels.push_back(truth.difficulty > 0 ? truth.difficulty : truth.num_points < kEasyPoints ? 2 : 1);
  }
  for (size_t i = 0; i < frame.detections.size(); ++i) {
    for (size_t j = 0; j < c.ground_truths.size(); ++j) {
      if (frame.detections[i].type != c.ground_truths[j]->type) continue;
      const float overlap = Overlap(frame.detections[i], *c.ground_truths[j], bev);
      if (overlap > 0) c.pairs.push_back({static_cast<int>(i), static_cast<int>(j), overlap});
    }
  }
  return c;
}

float HeadingAccuracy(const WaymoEvalObject& a, const WaymoEvalObject& b) {
  return static_cast<float>(1 - std::abs(std::remainder(a.heading - b.heading, 2 * M_PI)) / M_PI);
}

// Sums over frames at every cutoff.
struct Tally {
  std::array<int64_t, kWaymoCutoffs> tp{}, fp{};
  std::array<std::array<int64_t, kWaymoCutoffs>, kLevels> fn{};
  std::array<double, kWaymoCutoffs> accuracy{};
};

// Detections and ground truths of a frame and shard that overlap enough, directly or through others.
struct Component {
  // Highest score first.
  std::vector<int> detections;
  std::vector<int> ground_truths;
  std::vector<Pair> pairs;
};

int Root(std::vector<int>& parent, int i) {
  while (parent[i] != i) i = parent[i] = parent[parent[i]];
  return i;
}

// One frame under one shard: every detection and ground truth of the shard in exactly one component.
std::vector<Component> Components(const Case& c, const std::vector<bool>& detection_in,
                                  const std::vector<bool>& truth_in) {
  const int num_detections = static_cast<int>(detection_in.size()), num_truths = static_cast<int>(truth_in.size());
  std::vector<int> parent(num_detections + num_truths);
  std::iota(parent.begin(), parent.end(), 0);
  std::vector<Pair> close;
  for (const Pair& pair : c.pairs) {
    if (!detection_in[pair.detection] || !truth_in[pair.ground_truth]) continue;
    if (pair.overlap < MinimumOverlap(c.ground_truths[pair.ground_truth]->type)) continue;
    close.push_back(pair);
    parent[Root(parent, pair.detection)] = Root(parent, num_detections + pair.ground_truth);
  }
  std::vector<Component> components;
  std::vector<int> number(parent.size(), -1);
  const auto component_of = [&](int node) -> Component& {
    int& index = number[Root(parent, node)];
    if (index < 0) {
      index = static_cast<int>(components.size());
      components.emplace_back();
    }
    return components[index];
  };
  for (int i = 0; i < num_detections; ++i) {
    if (detection_in[i]) component_of(i).detections.push_back(i);
  }
  for (int j = 0; j < num_truths; ++j) {
    if (truth_in[j]) component_of(num_detections + j).ground_truths.push_back(j);
  }
  for (const Pair& pair : close) component_of(pair.detection).pairs.push_back(pair);
  for (Component& component : components) {
    std::stable_sort(component.detections.begin(), component.detections.end(),
                     [&](int a, int b) { return c.frame->detections[a].score > c.frame->detections[b].score; });
  }
  return components;
}

// Detection of each of the component's ground truths when only its first `active` detections are there; -1 for none.
// Of detections that overlap alike the one that stands first in the frame is taken, as the official tool does.
std::vector<int> Match(const Component& component, size_t active) {
  std::vector<int> matches(component.ground_truths.size(), -1);
  if (component.pairs.empty() || active == 0) return matches;
  std::vector<int> detections(component.detections.begin(), component.detections.begin() + active);
  std::sort(detections.begin(), detections.end());
  std::map<int, size_t> row, column;
  for (size_t i = 0; i < active; ++i) row[detections[i]] = i;
  for (size_t j = 0; j < component.ground_truths.size(); ++j) column[component.ground_truths[j]] = j;
  std::vector<std::vector<int64_t>> weights(active, std::vector<int64_t>(component.ground_truths.size()));
  for (const Pair& pair : component.pairs) {
    const auto found = row.find(pair.detection);
    if (found != row.end())
      weights[found->second][column[pair.ground_truth]] = std::llround(kWeightOfFullOverlap * pair.overlap);
  }
  const std::vector<int> assigned = MaximumWeightAssignment(weights);
  for (size_t i = 0; i < active; ++i) {
    if (assigned[i] >= 0) matches[assigned[i]] = detections[i];
  }
  return matches;
}

// Which ground truths the shard counts, and which detections are never false: those in a no-label zone, or best
// explained by an object that is not counted.
struct Rules {
  std::vector<bool> counted, excused;
};

Rules RulesOf(const Case& c, const Shard& shard, const std::vector<bool>& truth_in) {
  Rules rules;
  for (size_t j = 0; j < truth_in.size(); ++j) {
    rules.counted.push_back(truth_in[j] && (shard.counts == nullptr || shard.counts(*c.ground_truths[j])));
  }
  for (const WaymoEvalObject& found : c.frame->detections) rules.excused.push_back(found.in_no_label_zone);
  if (shard.counts == nullptr) return rules;
  std::vector<const Pair*> largest(rules.excused.size());
  for (const Pair& pair : c.pairs) {
    const Pair*& best = largest[pair.detection];
    if (truth_in[pair.ground_truth] && (best == nullptr || pair.overlap >= best->overlap)) best = &pair;
  }
  for (const Pair* pair : largest) {
    if (pair == nullptr || pair->overlap < kOtherSpeedOverlap || rules.counted[pair->ground_truth]) continue;
    rules.excused[pair->detection] = true;
  }
  return rules;
}

struct Counts {
  int64_t tp = 0, fp = 0;
  std::array<int64_t, kLevels> fn{};
  double accuracy = 0;
};

// With the component's first `active` detections.
Counts CountActive(const Case& c, const Component& component, size_t active, const Rules& rules) {
  Counts counts;
  const std::vector<int> matches = Match(component, active);
  std::vector<int> taken;
  for (size_t j = 0; j < matches.size(); ++j) {
    const int truth = component.ground_truths[j];
    if (matches[j] >= 0) taken.push_back(matches[j]);
    if (!rules.counted[truth]) continue;
    if (matches[j] >= 0) {
      ++counts.tp;
      counts.accuracy += HeadingAccuracy(*c.ground_truths[truth], c.frame->detections[matches[j]]);
    } else {
      for (int level = c.levels[truth]; level <= kLevels; ++level) ++counts.fn[level - 1];
    }
  }
  std::sort(taken.begin(), taken.end());
  for (size_t i = 0; i < active; ++i) {
    const int found = component.detections[i];
    counts.fp += !rules.excused[found] && !std::binary_search(taken.begin(), taken.end(), found);
  }
  return counts;
}

void Count(const Case& c, const Shard& shard, Tally& tally) {
  const std::vector<WaymoEvalObject>& found = c.frame->detections;
  std::vector<bool> detection_in, truth_in;
  for (const WaymoEvalObject& o : found) detection_in.push_back(o.type != kWaymoUnknown && shard.has(o));
  for (const WaymoEvalObject* o : c.ground_truths) truth_in.push_back(shard.has(*o));
  const Rules rules = RulesOf(c, shard, truth_in);
  for (const Component& component : Components(c, detection_in, truth_in)) {
    // From the highest cutoff down; the matching changes only where another detection joins.
    size_t active = 0;
    Counts counts = CountActive(c, component, active, rules);
    for (int cutoff = kWaymoCutoffs; cutoff-- > 0;) {
      const size_t before = active;
      const float limit = Cutoff(cutoff);
      while (active < component.detections.size() && found[component.detections[active]].score >= limit) ++active;
      if (active != before) counts = CountActive(c, component, active, rules);
      tally.tp[cutoff] += counts.tp;
      tally.fp[cutoff] += counts.fp;
      tally.accuracy[cutoff] += counts.accuracy;
      for (int level = 0; level < kLevels; ++level) tally.fn[level][cutoff] += counts.fn[level];
    }
  }
}

// Area under the curve through (recall, precision), in the official tool's arithmetic.
float AveragePrecision(const std::array<float, kWaymoCutoffs>& recalls,
                       const std::array<float, kWaymoCutoffs>& precisions) {
  std::map<float, float, std::greater<>> best;
  best[0] = 1;
  for (int i = 0; i < kWaymoCutoffs; ++i) {
    const auto [place, added] = best.try_emplace(recalls[i], precisions[i]);
    if (!added) place->second = std::max(place->second, precisions[i]);
  }
  std::vector<std::pair<float, float>> curve;  // from high recall to low
  float largest = 0;
  for (const auto& [recall, precision] : best) {
    while (!curve.empty() && curve.back().first - recall > kRecallStep + kRecallTolerance) {
      curve.emplace_back(curve.back().first - kRecallStep, largest);
    }
    largest = std::max(largest, precision);
    curve.emplace_back(recall, largest);
  }
  if (curve.size() > 1) curve.back().second = curve[curve.size() - 2].second;
  float area = 0;
  for (size_t i = 1; i < curve.size(); ++i) {
    area += 0.5f * (curve[i - 1].second + curve[i].second) * (curve[i - 1].first - curve[i].first);
  }
  return area;
}

WaymoScore ScoreOf(const Shard& shard, int level, const Tally& tally) {
  WaymoScore score{.name = absl::StrCat(shard.name, "_LEVEL_", level), .breakdown = shard.breakdown, .level = level};
  score.tp = tally.tp;
  score.fp = tally.fp;
  score.fn = tally.fn[level - 1];
  std::array<float, kWaymoCutoffs> recall{}, precision{};
  for (int i = 0; i < kWaymoCutoffs; ++i) {
    const auto tp = static_cast<float>(score.tp[i]);
    const auto found = static_cast<float>(score.tp[i] + score.fp[i]),
               there = static_cast<float>(score.tp[i] + score.fn[i]);
    recall[i] = there > 0 ? tp / there : 0;
    precision[i] = found > 0 ? tp / found : 0;
    score.precision_ha[i] = found > 0 ? static_cast<float>(tally.accuracy[i]) / found : 0;
    if (recall[i] == 0) precision[i] = score.precision_ha[i] = 1;
  }
  score.ap = AveragePrecision(recall, precision);
  score.aph = AveragePrecision(recall, score.precision_ha);
  return score;
}

// Calls `visit` with every object of an Objects message, one at a time: a whole validation set would not fit in memory
// as messages.
template <typename Visit>
absl::Status ForEachObject(const std::string& path, const Visit& visit) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, INT_MAX));
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  using google::protobuf::internal::WireFormatLite;
  for (size_t number = 0;;) {
    const auto error = [&](absl::string_view problem) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": object ", number, ": ", problem));
    };
    const uint32_t tag = stream.ReadTag();
    if (tag == 0 && stream.ConsumedEntireMessage()) return absl::OkStatus();
    constexpr char kNoMessage[] = "the bytes are no Objects message; write the file anew";
    if (tag == 0) return error(kNoMessage);
    if (tag !=
        WireFormatLite::MakeTag(waymo::Objects::kObjectsFieldNumber, WireFormatLite::WIRETYPE_LENGTH_DELIMITED)) {
      if (!WireFormatLite::SkipField(&stream, tag)) return error(kNoMessage);
      continue;
    }
    uint32_t size = 0;
    const bool sized = stream.ReadVarint32(&size);
    const int at = stream.CurrentPosition();
    waymo::Object object;
    if (!sized || size > bytes.size() - at || !object.ParseFromArray(bytes.data() + at, static_cast<int>(size)))
      return error(kNoMessage);
    stream.Skip(static_cast<int>(size));
    if (const std::string problem = visit(object); !problem.empty()) return error(problem);
    ++number;
  }
}

// What is wrong with it, or nothing.
std::string Convert(const waymo::Object& message, WaymoEvalObject& object) {
  const waymo::Label& label = message.object();
  const waymo::Box& box = label.box();
  const bool known = label.type() >= kWaymoVehicle && label.type() <= kWaymoCyclist;
  const int difficulty = label.detection_difficulty_level();
  object = {.type = known ? label.type() : kWaymoUnknown,
            .x = box.center_x(),
            .y = box.center_y(),
            .z = box.center_z(),
            .length = box.length(),
            .width = box.width(),
            .height = box.height(),
            .heading = box.heading(),
            .score = message.score(),
            .in_no_label_zone = message.overlap_with_nlz(),
            .speed_x = label.metadata().speed_x(),
            .speed_y = label.metadata().speed_y(),
            .num_points = label.num_lidar_points_in_box(),
            .difficulty = difficulty == 1 || difficulty == 2 ? difficulty : 0};
  const std::pair<const char*, double> numbers[] = {
      {"center_x", object.x},      {"center_y", object.y},     {"center_z", object.z},      {"length", object.length},
      {"width", object.width},     {"height", object.height},  {"heading", object.heading}, {"score", object.score},
      {"speed_x", object.speed_x}, {"speed_y", object.speed_y}};
  for (const auto& [name, value] : numbers) {
    if (!(std::abs(value) <= kLargestNumber))
      return absl::StrCat(name, " is ", value, ", expected a number up to ", kLargestNumber, "; mend it");
  }
  return "";
}

}  // namespace

const std::vector<std::string>& WaymoBreakdownNames() {
  static const auto& names =
      *new std::vector<std::string>{"OBJECT_TYPE", "RANGE", "SIZE", "VELOCITY", "ONE_SHARD", "ALL_BUT_SIGN"};
  return names;
}

absl::StatusOr<WaymoBreakdown> ParseWaymoBreakdown(absl::string_view name) {
  const std::vector<std::string>& names = WaymoBreakdownNames();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<WaymoBreakdown>(found - names.begin());
  return absl::InvalidArgumentError(absl::StrCat("no breakdown \"", absl::CEscape(name.substr(0, 64)),
                                                 "\"; there are: ", absl::StrJoin(names, ", ")));
}

std::vector<WaymoScore> EvaluateWaymo(const std::vector<WaymoEvalFrame>& frames, const WaymoEvalOptions& options) {
  std::vector<Shard> shards;
  for (const WaymoBreakdown breakdown : options.breakdowns) AddShards(breakdown, options.bev, shards);
  std::vector<Tally> tallies(shards.size());
  for (const WaymoEvalFrame& frame : frames) {
    const Case c = Prepare(frame, options.bev);
    for (size_t i = 0; i < shards.size(); ++i) Count(c, shards[i], tallies[i]);
  }
  std::vector<WaymoScore> scores;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (int level = 1; level <= kLevels; ++level) scores.push_back(ScoreOf(shards[i], level, tallies[i]));
  }
  return scores;
}

bool ShareNoFrame(const std::vector<WaymoEvalFrame>& frames) {
  const auto is_detected = [](const WaymoEvalFrame& frame) { return !frame.detections.empty(); };
  return std::any_of(frames.begin(), frames.end(), is_detected) &&
         std::none_of(frames.begin(), frames.end(),
                      [&](const WaymoEvalFrame& frame) { return is_detected(frame) && !frame.ground_truths.empty(); });
}

absl::StatusOr<std::vector<WaymoEvalFrame>> ReadWaymoEvalFrames(const std::string& ground_truths_file,
                                                                const std::string& detections_file) {
  std::map<std::pair<std::string, int64_t>, WaymoEvalFrame> frames;
  KD_RETURN_IF_ERROR(ForEachObject(ground_truths_file, [&](const waymo::Object& message) {
    return Convert(message,
                   frames[{message.context_name(), message.frame_timestamp_micros()}].ground_truths.emplace_back());
  }));
  KD_RETURN_IF_ERROR(ForEachObject(detections_file, [&](const waymo::Object& message) {
    return Convert(message,
                   frames[{message.context_name(), message.frame_timestamp_micros()}].detections.emplace_back());
  }));
  std::vector<WaymoEvalFrame> result;
  result.reserve(frames.size());
  for (auto& [key, frame] : frames) result.push_back(std::move(frame));
  return result;
}

std::string WaymoObjects(const WaymoFrameId& frame, const std::vector<WaymoEvalObject>& detections) {
  waymo::Objects objects;
  for (const WaymoEvalObject& detection : detections) {
    waymo::Object& object = *objects.add_objects();
    object.set_context_name(frame.context);
    object.set_frame_timestamp_micros(frame.timestamp_micros);
    object.set_score(detection.score);
    waymo::Label& label = *object.mutable_object();
    label.set_type(detection.type);
    waymo::Box& box = *label.mutable_box();
    box.set_center_x(detection.x);
    box.set_center_y(detection.y);
    box.set_center_z(detection.z);
    box.set_length(detection.length);
    box.set_width(detection.width);
    box.set_height(detection.height);
    box.set_heading(detection.heading);
  }
  return objects.SerializeAsString();
}

std::string WaymoScoresToJson(const std::vector<WaymoScore>& scores) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const WaymoScore& score : scores) {
    nlohmann::ordered_json& entry = json[score.name];
    entry = {{"AP", score.ap}, {"APH", score.aph}};
    if (score.breakdown != WaymoBreakdown::kObjectType) continue;
    entry["tp"] = score.tp;
    entry["fp"] = score.fp;
    entry["fn"] = score.fn;
    entry["precision_ha"] = score.precision_ha;
  }
  return json.dump(1);
}

std::string WaymoScoresToTable(const std::vector<WaymoScore>& scores) {
  std::string table = absl::StrFormat("%-36s %8s %8s   %8s %8s\n%-36s %8s %8s   %8s %8s\n", "", "LEVEL_1", "",
                                      "LEVEL_2", "", "breakdown", "AP", "APH", "AP", "APH");
  const auto add = [&](absl::string_view name, double ap1, double aph1, double ap2, double aph2) {
    absl::StrAppendFormat(&table, "%-36s %8.2f %8.2f   %8.2f %8.2f\n", name, 100 * ap1, 100 * aph1, 100 * ap2,
                          100 * aph2);
  };
  std::array<double, 4> sum{};
  for (size_t i = 0; i + 1 < scores.size(); i += kLevels) {
    const WaymoScore &easy = scores[i], &all = scores[i + 1];
    add(easy.name.substr(0, easy.name.size() - std::string("_LEVEL_1").size()), easy.ap, easy.aph, all.ap, all.aph);
    if (easy.breakdown != WaymoBreakdown::kObjectType) continue;
    if (absl::StrContains(easy.name, TypeName(kWaymoSign))) continue;
    const float values[] = {easy.ap, easy.aph, all.ap, all.aph};
    for (size_t k = 0; k < sum.size(); ++k) sum[k] += values[k] / 3;
  }
  const bool with_types = std::any_of(scores.begin(), scores.end(),
                                      [](const WaymoScore& s) { return s.breakdown == WaymoBreakdown::kObjectType; });
  if (with_types) add("ALL_NS (mean without signs)", sum[0], sum[1], sum[2], sum[3]);
  return table;
}

}  // namespace kd
