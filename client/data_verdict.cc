#include "client/data_verdict.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace kd {
namespace {

constexpr size_t kIntensity = 3;
constexpr double kByte = 255;
// Of Waymo's points: a percentile that is below tanh 3 unless most intensities are too large.
constexpr double kMajorityFrom = 40, kSaturated = 0.995;
// A frame whose points are so far from the sensor on the average is in another place's coordinates.
constexpr double kFarthestMean = 1000;

// What is to be done to labels, in the names that a format's files have for their fields.
struct Remedies {
  const char *lengths, *mirrored, *quarter_left, *quarter_right, *bottom, *top, *clockwise, *wide, *quarter, *reversed;
};

constexpr Remedies kOwnRemedies = {
    .lengths = "x y z dx dy dz of the boxes",
    .mirrored = "negate y and heading of the boxes",
    .quarter_left = "write -y x for x y of the boxes and add pi/2 to the heading",
    .quarter_right = "write y -x for x y of the boxes and subtract pi/2 from the heading",
    .bottom = "add dz/2 to z",
    .top = "subtract dz/2 from z",
    .clockwise = "negate the heading",
    .wide = "exchange dx and dy",
    .quarter = "add pi/2 to the heading, or subtract it (kdctl data view shows which)",
    .reversed = "add pi to the heading"};

// Camera axes: x right, y down, z forward; y is the bottom of a box; the heading is -rotation_y - pi/2.
constexpr Remedies kKittiRemedies = {
    .lengths = "height width length x y z of the labels",
    .mirrored = "negate x and write -rotation_y - pi for rotation_y",
    .quarter_left = "write -z x for x z of the labels and subtract pi/2 from rotation_y",
    .quarter_right = "write z -x for x z of the labels and add pi/2 to rotation_y",
    .bottom = "subtract height/2 from y, which is the bottom of a box",
    .top = "add height/2 to y, which is the bottom of a box",
    .clockwise = "write -rotation_y - pi for rotation_y",
    .wide = "exchange width and length",
    .quarter = "add pi/2 to rotation_y, or subtract it (kdctl data view shows which)",
    .reversed = "add pi to rotation_y"};

constexpr Remedies kWaymoRemedies = {
    .lengths = "center and size of the labels",
    .mirrored = "negate center_y and heading of the labels",
    .quarter_left = "write -center_y center_x for center_x center_y and add pi/2 to heading",
    .quarter_right = "write center_y -center_x for center_x center_y and subtract pi/2 from heading",
    .bottom = "add height/2 to center_z",
    .top = "subtract height/2 from center_z",
    .clockwise = "negate heading",
    .wide = "exchange length and width",
    .quarter = "add pi/2 to heading, or subtract it (kdctl data view shows which)",
    .reversed = "add pi to heading"};

// Boxes are in the world's frame.
constexpr Remedies kNuscenesRemedies = {
    .lengths = kOwnRemedies.lengths,
    .mirrored = kOwnRemedies.mirrored,
    .quarter_left = kOwnRemedies.quarter_left,
    .quarter_right = kOwnRemedies.quarter_right,
    .bottom = "add half the height to the z of translation",
    .top = "subtract half the height from the z of translation",
    .clockwise = "negate the yaw of rotation",
    .wide = "exchange width and length in size, which is width length height",
    .quarter = "turn rotation by pi/2 about z, one way or the other (kdctl data view shows which)",
    .reversed = "turn rotation by pi about z"};

const Remedies& RemediesOf(const std::string& format) {
  if (format == "kitti") return kKittiRemedies;
  if (format == "nuscenes") return kNuscenesRemedies;
  return format == "waymo" ? kWaymoRemedies : kOwnRemedies;
}

// How the labels (or points) have to be changed, part by part.
std::vector<std::string> Changes(const Convention& c, bool wide, const Remedies& remedies) {
  constexpr Convention::Unit kMetre = Convention::Unit::kMetre;
  std::vector<std::string> changes;
  const auto divide = [&](const char* what, Convention::Unit unit) {
    changes.push_back(absl::StrFormat("divide %s by %.0f", what, 1 / InMetres(unit)));
  };
  if (c.boxes != kMetre && c.points != kMetre) {
    divide("all lengths of points and labels", c.boxes);
  } else if (c.boxes != kMetre) {
    divide(remedies.lengths, c.boxes);
  } else if (c.points != kMetre) {
    divide("x y z of the points", c.points);
  }
  if (c.axes == Convention::Axes::kMirrored) changes.push_back(remedies.mirrored);
  if (c.axes == Convention::Axes::kQuarterLeft) changes.push_back(remedies.quarter_left);
  if (c.axes == Convention::Axes::kQuarterRight) changes.push_back(remedies.quarter_right);
  if (c.height == Convention::Height::kBottom) changes.push_back(remedies.bottom);
  if (c.height == Convention::Height::kTop) changes.push_back(remedies.top);
  if (c.clockwise) changes.push_back(remedies.clockwise);
  if (wide) changes.push_back(remedies.wide);
  if (c.quarter != wide) changes.push_back(remedies.quarter);
  return changes;
}

// What intensities speak against, and the change; empty when nothing.
std::pair<std::string, std::string> JudgeIntensity(const Extent& intensity, const std::string& format,
                                                   double divided_by) {
  if (format == "nuscenes") {
    if (intensity.most > 1 || intensity.most <= 0) return {};
    return {"intensity 0..1 instead of 0..255", "multiply the intensity by 255"};
  }
  if (format == "waymo") {
    // Its intensities have no upper end and are read as their tanh, which is 1 for what is meant as 3 and more.
    if (intensity.Percentile(kMajorityFrom) < kSaturated) return {};
    return {"intensity 0..255 instead of 0..1 for most", "divide the intensity by 255"};
  }
  if (intensity.most <= 1) return {};
  // As the files have it.
  const double most = intensity.most * divided_by, scale = most <= 1 ? 1 : std::max(kByte, most);
  std::string fault = absl::StrFormat("intensity 0..%g instead of 0..1", scale / divided_by);
  if (format != "custom") return {std::move(fault), absl::StrFormat("divide the intensity by %g", scale)};
  return {
      std::move(fault),
      absl::StrFormat("set data.intensity_scale: %g (here --intensity-scale %g), but not if the teacher was trained "
                      "on these very numbers",
                      scale, scale)};
}

// With what the sides tell of a quarter turn.
std::string NameOf(const Convention& convention, bool wide) {
  Convention rest = convention;
  rest.quarter = false;
  std::vector<std::string> parts;
  if (!(rest == Convention())) parts.push_back(ConventionName(rest));
  if (convention.quarter) parts.push_back(wide ? "l and w swapped" : "heading off by 90 degrees");
  if (!convention.quarter && wide) parts.push_back("l and w swapped and heading off by 90 degrees");
  return absl::StrJoin(parts, ", ");
}

}  // namespace

DataVerdict JudgeData(const ConventionReport& report, const FrameSurvey& survey, const std::string& format,
                      double intensity_scale) {
  const Remedies& remedies = RemediesOf(format);
  std::vector<std::string> found, changes;
  const ConventionReport::Row& declared = report.rows.at(0);
  const ConventionReport::Row& best = report.rows.at(report.best);
  if (report.best != 0 || report.wide()) {
    found.push_back(absl::StrFormat("%s (score %.2f, as declared %.2f, %d boxes)",
                                    NameOf(best.convention, report.wide()), best.score, declared.score, report.boxes));
    changes = Changes(best.convention, report.wide(), remedies);
  } else if (report.reversed()) {
    found.push_back(absl::StrFormat("headings point backwards (%.0f cars)",
                                    report.front_setback.count + report.rear_setback.count));
    changes.push_back(remedies.reversed);
  }
  if (survey.columns.size() > 2) {
    const double x = survey.columns[0].spread.mean(), y = survey.columns[1].spread.mean();
    if (best.convention.points == Convention::Unit::kMetre && std::hypot(x, y) > kFarthestMean) {
      found.push_back(absl::StrFormat("points lie around (%.0f, %.0f), far from the sensor", x, y));
      changes.push_back("subtract the sensor's position from points and boxes, and turn both by its heading");
    }
  }
  if (survey.columns.size() > kIntensity) {
    auto [fault, change] = JudgeIntensity(survey.columns[kIntensity], format, intensity_scale);
    if (!fault.empty()) {
      found.push_back(std::move(fault));
      changes.push_back(std::move(change));
    }
  }
  DataVerdict verdict{.fits = found.empty()};
  std::string unknown;
  if (report.undecided()) {
    unknown = absl::StrFormat("cannot tell: %d boxes, need %d with at least %d points each", report.boxes,
                              ConventionReport::kFewestBoxes, ConventionReport::kFewestPoints);
    changes.push_back(
        "read more frames (--frames 0: all) or another --split, or label more objects, to have the boxes judged");
  }
  verdict.remedy = absl::StrJoin(changes, "; ");
  if (!verdict.fits) {
    verdict.text = absl::StrCat("does not fit: ", absl::StrJoin(found, "; "));
    if (!unknown.empty()) absl::StrAppend(&verdict.text, "; of the boxes it ", unknown);
  } else if (!unknown.empty()) {
    verdict.text = unknown;
  } else {
    verdict.text = absl::StrFormat("fits as declared (score %.2f, %d boxes)", declared.score, report.boxes);
  }
  return verdict;
}

}  // namespace kd
