// How a convention is judged, box by box: with P points in the box as meant, and S points in its surroundings - half a
// metre to the sides, half a height above and below, without the ground - the score is P / (P + S) * P / (P + 5). A box
// that is turned or moved wrongly has a part of its object in its surroundings, or no points at all.
#include "data/convention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "absl/strings/str_join.h"
#include "data/box_frame.h"

namespace kd {
namespace {

constexpr double kMillimetre = 1e-3;
constexpr double kMargin = 0.1, kSurroundings = 0.5, kGround = 0.2;  // metres
constexpr double kHalfTrust = 5;                                     // points
constexpr double kFewestPoints = 10;
// Longest side of anything that is labelled, in metres.
constexpr double kSmallest = 0.05, kLargest = 100;
constexpr size_t kFewestBoxes = 8;
constexpr double kLeastGain = 0.02, kLeastErrors = 3;
constexpr double kLongSide = 2.5, kLongRatio = 4.0 / 3;
constexpr double kMajority = 0.7;
constexpr double kFewestCars = 8, kReversalErrors = 3.5;

using Units = Convention::Units;
using Axes = Convention::Axes;
using Height = Convention::Height;

bool BoxesInMillimetres(Units units) {
  return units == Units::kBoxesInMillimetres || units == Units::kAllInMillimetres;
}
bool PointsInMillimetres(Units units) {
  return units == Units::kPointsInMillimetres || units == Units::kAllInMillimetres;
}

double Longest(const Box3d& box) { return std::max({box.dx, box.dy, box.dz}); }

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
  const auto add = [&](Units units, Axes axes) {
    for (const Height height : {Height::kCentre, Height::kBottom, Height::kTop}) {
      for (const bool clockwise : {false, true}) {
        for (const bool quarter : {false, true}) {
          all.push_back({.units = units, .axes = axes, .height = height, .clockwise = clockwise, .quarter = quarter});
        }
      }
    }
  };
  for (const Axes axes : {Axes::kSame, Axes::kMirrored, Axes::kQuarterLeft, Axes::kQuarterRight})
    add(Units::kMetres, axes);
  for (const Units units : {Units::kBoxesInMillimetres, Units::kPointsInMillimetres, Units::kAllInMillimetres}) {
    add(units, Axes::kSame);
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

std::string ConventionName(const Convention& c) {
  std::vector<std::string> parts;
  if (c.units == Units::kBoxesInMillimetres) parts.push_back("boxes in millimetres");
  if (c.units == Units::kPointsInMillimetres) parts.push_back("points in millimetres");
  if (c.units == Units::kAllInMillimetres) parts.push_back("points and boxes in millimetres");
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
  if (BoxesInMillimetres(convention.units)) {
    for (float* length : {&box.x, &box.y, &box.z, &box.dx, &box.dy, &box.dz})
      *length *= static_cast<float>(kMillimetre);
  }
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

ConventionEvidence::ConventionEvidence() : scores_(AllConventions().size()), gains_(AllConventions().size()) {}

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
      if (i == 0 || all[i].units != all[i - 1].units || all[i].axes != all[i - 1].axes) {
        const bool possible = Longest(box) >= kSmallest && Longest(box) <= kLargest;
        near.clear();
        const double radius = std::hypot(box.dx, box.dy) / 2 + std::sqrt(2.0) * (kMargin + kSurroundings);
        if (possible) index.Near(box.x, box.y, radius, PointsInMillimetres(all[i].units) ? kMillimetre : 1, near);
      }
      const Count count = CountPoints(box, near);
      most = std::max(most, count.inside);
      scores[i] = count.score();
    }
    if (most < kFewestPoints) continue;
    ++boxes_;
    for (size_t i = 0; i < all.size(); ++i) {
      scores_[i].Add(scores[i]);
      gains_[i].Add(scores[i] - scores[0]);
    }
    const double unit = Longest(labeled.box) > kLargest ? kMillimetre : 1;
    const double dx = labeled.box.dx * unit, dy = labeled.box.dy * unit;
    if (std::max(dx, dy) >= kLongSide) {
      long_boxes_ += dx > kLongRatio * dy;
      wide_boxes_ += dy > kLongRatio * dx;
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
  long_boxes_ += other.long_boxes_;
  wide_boxes_ += other.wide_boxes_;
  for (size_t i = 0; i < scores_.size(); ++i) {
    scores_[i].Add(other.scores_[i]);
    gains_[i].Add(other.gains_[i]);
  }
  front_setback_.Add(other.front_setback_);
  rear_setback_.Add(other.rear_setback_);
}

ConventionReport ConventionEvidence::Conclude() const {
  ConventionReport report{.boxes = boxes_,
                          .long_boxes = long_boxes_,
                          .wide_boxes = wide_boxes_,
                          .front_setback = front_setback_,
                          .rear_setback = rear_setback_};
  for (size_t i = 0; i < scores_.size(); ++i) {
    const double error = boxes_ == 0 ? 0 : gains_[i].deviation() / std::sqrt(static_cast<double>(boxes_));
    const double gain = gains_[i].mean();
    report.rows.push_back({.convention = AllConventions()[i],
                           .score = scores_[i].mean(),
                           .gain = gain,
                           .errors = error > 0 ? gain / error : 0});
  }
  if (report.undecided()) return report;
  for (size_t i = 1; i < report.rows.size(); ++i) {
    const ConventionReport::Row& row = report.rows[i];
    if (row.gain > kLeastGain && row.errors > kLeastErrors && row.score > report.rows[report.best].score)
      report.best = i;
  }
  return report;
}

}  // namespace kd
