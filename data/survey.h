// What a data set looks like in numbers.
#ifndef KD_DATA_SURVEY_H_
#define KD_DATA_SURVEY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "data/convention.h"
#include "data/frame.h"
#include "data/quantiles.h"

namespace kd {

// Smallest and largest value, the mean, and what lies between. NaN never enters: readers leave such points out.
struct Extent {
  float least = 0, most = 0;
  Spread spread;
  Quantiles quantiles;

  void Add(float value);
  void Add(const Extent& other);
  // As Quantiles::At, and neither below `least` nor above `most`.
  double Percentile(double percent) const;
};

// The height that most points are at, within a fifth of a metre, between 3 and 25 m from the sensor seen from above:
// that of the ground around it. Nothing when fewer than 100 points are.
std::optional<float> GroundHeight(const Frame& frame);

// Of the boxes of one class.
struct ClassSurvey {
  static constexpr size_t kDistanceStep = 10, kDistances = 11;  // metres; the last one is open
  static constexpr size_t kLengths = 21;                        // by metre; the last one is open

  Extent length, width, height, z;
  // Points in boxes, and boxes without any.
  uint64_t points = 0, empty = 0;
  // Boxes by the distance of their centre seen from above, and by their longer side.
  std::array<uint64_t, kDistances> distances{};
  std::array<uint64_t, kLengths> lengths{};

  void Add(const ClassSurvey& other);
};

// Adds up frames. Not thread-safe: one for each thread, added together in the end.
struct FrameSurvey {
  explicit FrameSurvey(size_t num_classes) : classes(num_classes) {}

  void Add(const Frame& frame);
  void Add(const FrameSurvey& other);

  uint64_t frames = 0, empty_frames = 0;
  // In all frames; a point in two boxes counts once.
  uint64_t points = 0, points_in_boxes = 0, not_finite = 0;
  Extent points_per_frame;
  // GroundHeight() of the frames that have one.
  Extent ground;
  // x, y, z, intensity, ...
  std::vector<Extent> columns;
  // By label.
  std::vector<ClassSurvey> classes;
};

// Frames that could not be read, and the first reason of each kind.
struct SkippedFrames {
  struct Kind {
    std::vector<std::string> samples;
    std::string first;
  };
  // By reason without what differs from frame to frame: file names and numbers.
  std::map<std::string, Kind> kinds;
  uint64_t count = 0;

  void Add(const std::string& sample, const absl::Status& reason);

  // One for each kind, "skipped 3 frames, first 000017: <reason>", and a last one for those beyond eight.
  std::vector<std::string> Lines() const;
};

}  // namespace kd

#endif  // KD_DATA_SURVEY_H_
