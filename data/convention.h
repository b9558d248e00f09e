// What the boxes of a data set mean, found out from how well they hold the points: nobody's description is needed.
#ifndef KD_DATA_CONVENTION_H_
#define KD_DATA_CONVENTION_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "data/frame.h"

namespace kd {

// How the numbers of boxes may have been meant; the defaults are kdfleet's own convention (data/frame.h).
struct Convention {
  enum class Unit : uint8_t { kMetre, kCentimetre, kMillimetre };
  // Of all boxes against the points: mirrored (y, heading), or turned about the sensor (x right, y forward; x back,
  // ...).
  enum class Axes : uint8_t { kSame, kMirrored, kQuarterLeft, kQuarterRight };
  // What z says.
  enum class Height : uint8_t { kCentre, kBottom, kTop };

  Unit boxes = Unit::kMetre, points = Unit::kMetre;
  Axes axes = Axes::kSame;
  Height height = Height::kCentre;
  // The heading grows clockwise.
  bool clockwise = false;
  // The heading is off by a quarter turn; for a box that is the same as exchanged length and width.
  bool quarter = false;

  friend bool operator==(const Convention&, const Convention&) = default;
};

// Metres of a unit.
double InMetres(Convention::Unit unit);

// "as declared", or what differs, such as "z is the bottom, heading clockwise".
std::string ConventionName(const Convention& convention);

// `box` as meant in `convention`, in metres of kdfleet's own.
Box3d Reinterpret(Box3d box, const Convention& convention);

// Every convention that is tried; the first is the declared one.
const std::vector<Convention>& AllConventions();

// A sum that tells mean and deviation, and can be added to another.
struct Spread {
  double count = 0, sum = 0, squares = 0;

  void Add(double value);
  void Add(const Spread& other);
  double mean() const { return count > 0 ? sum / count : 0; }
  // Of a sample; 0 below two values.
  double deviation() const;
};

struct ConventionReport {
  struct Row {
    Convention convention;
    // 0..1: how much of what lies in and around the boxes is in them, the mean over boxes.
    double score = 0;
    // Against the declared convention: mean gain of a box, the gain in standard errors, and how many boxes gain and
    // lose a tenth.
    double gain = 0, errors = 0;
    size_t better = 0, worse = 0;
  };
  // Boxes with enough points under one convention at least.
  size_t boxes = 0;
  // As in AllConventions().
  std::vector<Row> rows;
  // Index of the one that fits: the declared one unless another is better beyond doubt.
  size_t best = 0;
  // Objects longer than wide as labelled, and wider than long, with the unit that fits: 2.5 m or more on one side, a
  // third more than the other.
  size_t long_boxes = 0, wide_boxes = 0;
  // Cars seen from in front and from behind, as labelled, and by how much of their length the upper half lies behind
  // the lower one as seen from there. A bonnet is longer than a boot: if it is not, headings point backwards.
  Spread front_setback, rear_setback;

  // Boxes and points a box that it takes to tell anything.
  static constexpr size_t kFewestBoxes = 8, kFewestPoints = 10;

  // Too few boxes for that.
  bool undecided() const;
  // Length stands where width belongs.
  bool wide() const;
  // Headings point backwards, which no count of points in boxes can show.
  bool reversed() const;
  // There were enough cars to tell.
  bool reversal_known() const;
};

// Adds up what frames tell. Not thread-safe: one for each thread, added together in the end.
class ConventionEvidence {
 public:
  ConventionEvidence();

  void Add(const Frame& frame);
  void Add(const ConventionEvidence& other);
  ConventionReport Conclude() const;

 private:
  void AddHeading(const Box3d& box, const Frame& frame);

  size_t boxes_ = 0;
  // By unit of the boxes.
  std::array<size_t, 3> long_boxes_{}, wide_boxes_{};
  // By convention: scores, gains against the declared one, and the boxes that gain and lose clearly.
  std::vector<Spread> scores_, gains_;
  std::vector<size_t> better_, worse_;
  Spread front_setback_, rear_setback_;
};

}  // namespace kd

#endif  // KD_DATA_CONVENTION_H_
