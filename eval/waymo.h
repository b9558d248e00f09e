// Detection metrics of the Waymo Open Dataset (datasets.md section 3.7): AP and APH (weighted by heading accuracy) at
// difficulty levels 1 and 2. Overlaps are computed in double, scores and curves in float as the official tool does.
#ifndef KD_EVAL_WAYMO_H_
#define KD_EVAL_WAYMO_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/waymo_frame.h"

namespace kd {

enum class WaymoBreakdown { kObjectType, kRange, kSize, kVelocity, kOneShard, kAllButSign };

// "OBJECT_TYPE", "RANGE", "SIZE", "VELOCITY", "ONE_SHARD", "ALL_BUT_SIGN", in the order of the enumeration.
const std::vector<std::string>& WaymoBreakdownNames();
// INVALID_ARGUMENT: none of these.
absl::StatusOr<WaymoBreakdown> ParseWaymoBreakdown(absl::string_view name);

struct WaymoEvalOptions {
  std::vector<WaymoBreakdown> breakdowns = {WaymoBreakdown::kObjectType, WaymoBreakdown::kRange};
  // Compare boxes seen from above.
  bool bev = false;
};

struct WaymoEvalObject {
  // WaymoType; an unknown one counts nowhere.
  int type = 0;
  double x = 0, y = 0, z = 0;
  double length = 0, width = 0, height = 0, heading = 0;
  // Of detections.
  float score = 1;
  bool in_no_label_zone = false;
  // Of ground truths; speed in metres per second, difficulty 0 (not set), 1 or 2.
  double speed_x = 0, speed_y = 0;
  int num_points = 0;
  int difficulty = 0;
};

struct WaymoEvalFrame {
  std::vector<WaymoEvalObject> ground_truths;
  std::vector<WaymoEvalObject> detections;
};

inline constexpr int kWaymoCutoffs = 101;

struct WaymoScore {
  // "OBJECT_TYPE_TYPE_VEHICLE_LEVEL_1", ...
  std::string name;
  WaymoBreakdown breakdown = WaymoBreakdown::kObjectType;
  int level = 1;
  // 0..1, up to rounding.
  float ap = 0, aph = 0;
  // At score cutoffs 0.00, 0.01, .., 1.00.
  std::array<int64_t, kWaymoCutoffs> tp{}, fp{}, fn{};
  // Sum of the heading accuracies of true positives over the number of detections.
  std::array<float, kWaymoCutoffs> precision_ha{};
};

// Scores of every part of every breakdown in the order asked for, LEVEL_1 before LEVEL_2.
std::vector<WaymoScore> EvaluateWaymo(const std::vector<WaymoEvalFrame>& frames, const WaymoEvalOptions& options);

// Reads two files of serialized Objects messages; a frame is what has one context name and time stamp in either. A file
// without any detection is one of a detector that found nothing.
// NOT_FOUND and other codes of the files. INVALID_ARGUMENT: no Objects message, or a number that is not finite or
// beyond any road; names file and object (from 0).
absl::StatusOr<std::vector<WaymoEvalFrame>> ReadWaymoEvalFrames(const std::string& ground_truths_file,
                                                                const std::string& detections_file);

// Whether there are detections, but none in a frame that has ground truths: mostly, files of two splits. All scores are
// 0 then, as the official tool's.
bool ShareNoFrame(const std::vector<WaymoEvalFrame>& frames);

// The detections of a frame as bytes of an Objects message. The bytes of frame after frame are one message, the file
// that ReadWaymoEvalFrames() and Waymo's own tools take.
std::string WaymoObjects(const WaymoFrameId& frame, const std::vector<WaymoEvalObject>& detections);

// Name -> {"AP", "APH"}, and the counts of OBJECT_TYPE; and a table in percent, which has the means over vehicles,
// pedestrians and cyclists too.
std::string WaymoScoresToJson(const std::vector<WaymoScore>& scores);
std::string WaymoScoresToTable(const std::vector<WaymoScore>& scores);

}  // namespace kd

#endif  // KD_EVAL_WAYMO_H_
