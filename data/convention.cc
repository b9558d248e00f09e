// How a convention is judged, box by box: with P points in the box as meant, and S points in its surroundings - half a
// metre to the sides, half a height above and below, without the ground - the score is P / (P + S) * P / (P + 5). A box
// that is turned or moved wrongly has a part of its object in its surroundings, or no points at all.
#include "data/convention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/box_frame.h"

namespace kd {
namespace {

constexpr double kMargin = 0.1, kSurroundings = 0.5, kGround = 0.2;  // metres
constexpr double kHalfTrust = 5;                                     // points
// Longest side of anything that is labelled, in metres.
constexpr double kSmallest = 0.05, kLargest = 100;
// Height of what would be another unit's. Sizes ten times too large have little around them and so would score well.
constexpr double kLowest = 0.2, kHighest = 6;
constexpr double kLeastGain = 0.02, kLeastErrors = 3;
// Most boxes of a street lie along it and look the same with some faults. Those that do not tell them all the same.
constexpr double kClearGain = 0.1;
constexpr size_t kBetterToWorse = 4;
constexpr double kLongSide = 2.5, kLongRatio = 4.0 / 3;
constexpr double kMajority = 0.7;
constexpr double kFewestCars = 8, kReversalErrors = 3.5;

using Unit = Convention::Unit;
using Axes = Convention::Axes;
using Height = Convention::Height;

constexpr Unit kUnits[] = {Unit::kMetre, Unit::kCentimetre, Unit::kMillimetre};

const char* NameOf(Unit unit) {
  return unit == Unit::kMetre ? "metres" : unit == Unit::kCentimetre ? "centimetres" : "millimetres";
}

// `box` is in metres, which `convention` made of its own unit.
bool Possible(const Box3d& box, const Convention& convention) {
  const double longest = std::max({box.dx, box.dy, box.dz});
  if (longest < kSmallest || longest > kLargest) return false;
  return convention.boxes == Unit::kMetre || (box.dz >= kLowest && box.dz <= kHighest);
}

// Rows of points by ascending x.
class PointIndex {
 public:
  explicit PointIndex(const Frame& frame) {
    const size_t columns = frame.num_features;
    std::vector<size_t> order(frame.num_points());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return frame.points[a * columns] < frame.points[b * columns]; });
    points_.reserve(order.size());
    for (const size_t i : order) {
      const float* p = &frame.points[i * columns];
      points_.push_back({p[0], p[1], p[2]});
    }
  }

  // Points, times `unit`, within `radius` of (x, y) seen from above.
  void Near(double x, double y, double radius, double unit, std::vector<std::array<float, 3>>& near) const {
    near.clear();
    auto at = std::lower_bound(points_.begin(), points_.end(), (x - radius) / unit,
                               [](const std::array<float, 3>& p, double low) { return p[0] < low; });
    for (; at != points_.end() && (*at)[0] * unit <= x + radius; ++at) {
      const double px = (*at)[0] * unit, py = (*at)[1] * unit;
      if (std::abs(py - y) > radius || std::hypot(px - x, py - y) > radius) continue;
      near.push_back({static_cast<float>(px), static_cast<float>(py), static_cast<float>((*at)[2] * unit)});
    }
  }

 private:
  std::vector<std::array<float, 3>> points_;
};

struct Count {
  double inside = 0, around = 0;

  double score() const { return inside == 0 ? 0 : inside / (inside + around) * inside / (inside + kHalfTrust); }
};

Count CountPoints(const Box3d& box, const std::vector<std::array<float, 3>>& points) {
  const BoxFrame frame(box);
  const double a = box.dx / 2 + kMargin, b = box.dy / 2 + kMargin, c = box.dz / 2;
  const double ground = std::min(kGround, c / 2);
  Count count;
  for (const std::array<float, 3>& p : points) {
    const auto [u, v, w] = frame.ToBox(p.data());
    const double beyond = std::max(std::abs(u) - a, std::abs(v) - b);
    if (beyond > kSurroundings) continue;
    const bool level = w > -c + ground && w <= c + kMargin;
    if (beyond > 0) {
      count.around += level;
    } else if (level) {
      ++count.inside;
    } else {
      count.around += (w > c + kMargin && w <= 2 * c + kMargin) || (w < -c - ground && w >= -2 * c);
    }
  }
  return count;
}

std::vector<Convention> MakeConventions() {
  std::vector<Convention> all;
  const auto add = [&](Unit boxes, Unit points, Axes axes) {
    for (const Height height : {Height::kCentre, Height::kBottom, Height::kTop}) {
      for (const bool clockwise : {false, true}) {
        for (const bool quarter : {false, true}) {
          all.push_back({.boxes = boxes,
                         .points = points,
                         .axes = axes,
                         .height = height,
                         .clockwise = clockwise,
                         .quarter = quarter});
        }
      }
    }
  };
  for (const Axes axes : {Axes::kSame, Axes::kMirrored, Axes::kQuarterLeft, Axes::kQuarterRight})
    add(Unit::kMetre, Unit::kMetre, axes);
  for (const Unit unit : {Unit::kCentimetre, Unit::kMillimetre}) {
    add(unit, Unit::kMetre, Axes::kSame);
    add(Unit::kMetre, unit, Axes::kSame);
    add(unit, unit, Axes::kSame);
  }
  return all;
}

// The value that a tenth of `values` exceeds.
double UpperTenth(std::vector<double>& values) {
  const auto at = values.begin() + static_cast<ptrdiff_t>(values.size() * 9 / 10);
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

double InMetres(Unit unit) { return unit == Unit::kMetre ? 1 : unit == Unit::kCentimetre ? 1e-2 : 1e-3; }

std::string ConventionName(const Convention& c) {
  std::vector<std::string> parts;
  if (c.boxes != Unit::kMetre || c.points != Unit::kMetre) {
    const bool all = c.boxes == c.points;
    parts.push_back(absl::StrCat(all                        ? "points and boxes in "
                                 : c.points == Unit::kMetre ? "boxes in "
                                                            : "points in ",
                                 NameOf(c.points == Unit::kMetre ? c.boxes : c.points)));
  }
  if (c.axes == Axes::kMirrored) parts.push_back("boxes mirrored in y");
  if (c.axes == Axes::kQuarterLeft) parts.push_back("boxes turned by -90 degrees about the sensor");
  if (c.axes == Axes::kQuarterRight) parts.push_back("boxes turned by +90 degrees about the sensor");
  if (c.height == Height::kBottom) parts.push_back("z is the bottom");
  if (c.height == Height::kTop) parts.push_back("z is the top");
  if (c.clockwise) parts.push_back("heading clockwise");
  if (c.quarter) parts.push_back("heading off by 90 degrees, or l and w swapped");
  return parts.empty() ? "as declared" : absl::StrJoin(parts, ", ");
}

Box3d Reinterpret(Box3d box, const Convention& convention) {
  const auto unit = static_cast<float>(InMetres(convention.boxes));
  for (float* length : {&box.x, &box.y, &box.z, &box.dx, &box.dy, &box.dz}) *length *= unit;
  double yaw = convention.clockwise ? -box.yaw : box.yaw;
  if (convention.quarter) yaw += M_PI / 2;
  if (convention.height == Height::kBottom) box.z += box.dz / 2;
  if (convention.height == Height::kTop) box.z -= box.dz / 2;
  const float x = box.x, y = box.y;
  switch (convention.axes) {
    case Axes::kSame:
      break;
    case Axes::kMirrored:
      box.y = -y;
      yaw = -yaw;
      break;
    case Axes::kQuarterLeft:
      box.x = -y;
      box.y = x;
      yaw += M_PI / 2;
      break;
    case Axes::kQuarterRight:
      box.x = y;
      box.y = -x;
      yaw -= M_PI / 2;
      break;
  }
  yaw = std::remainder(yaw, 2 * M_PI);
  box.yaw = static_cast<float>(yaw < M_PI ? yaw : yaw - 2 * M_PI);
  return box;
}

const std::vector<Convention>& AllConventions() {
  static const auto* const all = new std::vector<Convention>(MakeConventions());
  return *all;
}

void Spread::Add(double value) {
  ++count;
  sum += value;
  squares += value * value;
}

void Spread::Add(const Spread& other) {
  count += other.count;
  sum += other.sum;
  squares += other.squares;
}

double Spread::deviation() const {
  return count < 2 ? 0 : std::sqrt(std::max(0.0, (squares - sum * sum / count) / (count - 1)));
}

bool ConventionReport::undecided() const { return boxes < kFewestBoxes; }

bool ConventionReport::wide() const {
  const size_t both = long_boxes + wide_boxes;
  return both >= kFewestBoxes && static_cast<double>(wide_boxes) > kMajority * static_cast<double>(both);
}

bool ConventionReport::reversal_known() const {
  return front_setback.count >= kFewestCars && rear_setback.count >= kFewestCars;
}

bool ConventionReport::reversed() const {
  if (!reversal_known()) return false;
  const auto square = [](double value) { return value * value; };
  const double error = std::sqrt(square(front_setback.deviation()) / front_setback.count +
                                 square(rear_setback.deviation()) / rear_setback.count);
  return rear_setback.mean() - front_setback.mean() > kReversalErrors * error;
}

ConventionEvidence::ConventionEvidence()
    : scores_(AllConventions().size()),
      gains_(AllConventions().size()),
      better_(AllConventions().size()),
      worse_(AllConventions().size()) {}

void ConventionEvidence::Add(const Frame& frame) {
  if (frame.boxes.empty()) return;
  const PointIndex index(frame);
  const std::vector<Convention>& all = AllConventions();
  std::vector<std::array<float, 3>> near;
  std::vector<double> scores(all.size());
  for (const LabeledBox& labeled : frame.boxes) {
    double most = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      const Box3d box = Reinterpret(labeled.box, all[i]);
      // Conventions that differ in height and heading alone have their points in common.
      if (i == 0 || all[i].boxes != all[i - 1].boxes || all[i].points != all[i - 1].points ||
          all[i].axes != all[i - 1].axes) {
        near.clear();
        const double radius = std::hypot(box.dx, box.dy) / 2 + std::sqrt(2.0) * (kMargin + kSurroundings);
        if (Possible(box, all[i])) index.Near(box.x, box.y, radius, InMetres(all[i].points), near);
      }
      const Count count = CountPoints(box, near);
      most = std::max(most, count.inside);
      scores[i] = count.score();
    }
    if (most < ConventionReport::kFewestPoints) continue;
    ++boxes_;
    for (size_t i = 0; i < all.size(); ++i) {
      scores_[i].Add(scores[i]);
      gains_[i].Add(scores[i] - scores[0]);
      better_[i] += scores[i] - scores[0] > kClearGain;
      worse_[i] += scores[i] - scores[0] < -kClearGain;
    }
    for (size_t i = 0; i < std::size(kUnits); ++i) {
      const double dx = labeled.box.dx * InMetres(kUnits[i]), dy = labeled.box.dy * InMetres(kUnits[i]);
      if (std::max(dx, dy) < kLongSide) continue;
      long_boxes_[i] += dx > kLongRatio * dy;
      wide_boxes_[i] += dy > kLongRatio * dx;
    }
    AddHeading(labeled.box, frame);
  }
}

void ConventionEvidence::AddHeading(const Box3d& box, const Frame& frame) {
  constexpr size_t kFewestInHalf = 5;
  const bool car = box.dx >= 3 && box.dx <= 6 && box.dy < box.dx && box.dz >= 1.2f && box.dz <= 2.4f;
  if (!car) return;
  const BoxFrame own(box);
  const float sensor[3] = {0, 0, 0};
  const double from = own.ToBox(sensor)[0];
  // From the side neither end is the nearer one.
  if (std::abs(from) < box.dx / 2) return;
  const double towards = from > 0 ? 1 : -1;
  std::vector<double> lower, upper;
  for (size_t i = 0; i < frame.num_points(); ++i) {
    const float* p = &frame.points[i * frame.num_features];
    if (std::abs(p[0] - box.x) > box.dx || std::abs(p[1] - box.y) > box.dx) continue;
    const auto uvw = own.ToBox(p);
    if (!Holds(box, uvw)) continue;
    const double height = uvw[2] / box.dz + 0.5;
    if (height > 0.15 && height < 0.5) lower.push_back(towards * uvw[0]);
    if (height > 0.7) upper.push_back(towards * uvw[0]);
  }
  if (std::min(lower.size(), upper.size()) < kFewestInHalf) return;
  (from > 0 ? front_setback_ : rear_setback_).Add((UpperTenth(lower) - UpperTenth(upper)) / box.dx);
}

void ConventionEvidence::Add(const ConventionEvidence& other) {
  boxes_ += other.boxes_;
  for (size_t i = 0; i < long_boxes_.size(); ++i) {
    long_boxes_[i] += other.long_boxes_[i];
    wide_boxes_[i] += other.wide_boxes_[i];
  }
  for (size_t i = 0; i < scores_.size(); ++i) {
    scores_[i].Add(other.scores_[i]);
    gains_[i].Add(other.gains_[i]);
    better_[i] += other.better_[i];
    worse_[i] += other.worse_[i];
  }
  front_setback_.Add(other.front_setback_);
  rear_setback_.Add(other.rear_setback_);
}

ConventionReport ConventionEvidence::Conclude() const {
  ConventionReport report{.boxes = boxes_, .front_setback = front_setback_, .rear_setback = rear_setback_};
  for (size_t i = 0; i < scores_.size(); ++i) {
    const double error = boxes_ == 0 ? 0 : gains_[i].deviation() / std::sqrt(static_cast<double>(boxes_));
    const double gain = gains_[i].mean();
    report.rows.push_back({.convention = AllConventions()[i],
                           .score = scores_[i].mean(),
                           .gain = gain,
                           .errors = error > 0 ? gain / error : 0,
                           .better = better_[i],
                           .worse = worse_[i]});
  }
  for (size_t i = 1; i < report.rows.size() && !report.undecided(); ++i) {
    const ConventionReport::Row& row = report.rows[i];
    const bool clear = row.gain > kLeastGain ||
                       (row.better >= ConventionReport::kFewestBoxes && row.better >= kBetterToWorse * row.worse);
    if (clear && row.errors > kLeastErrors && row.score > report.rows[report.best].score) report.best = i;
  }
  const auto unit = static_cast<size_t>(report.rows[report.best].convention.boxes);
  report.long_boxes = long_boxes_[unit];
  report.wide_boxes = wide_boxes_[unit];
  return report;
}

}  // namespace kd
