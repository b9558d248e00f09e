#include "client/data_verdict.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace kd {
namespace {

constexpr size_t kIntensity = 3;
constexpr double kByte = 255;
// A frame whose points are so far from the sensor on the average is in another place's coordinates.
constexpr double kFarthestMean = 1000;

// How the labels (or points) have to be changed, part by part.
std::vector<std::string> Changes(const Convention& c, bool wide) {
  std::vector<std::string> changes;
  if (c.units == Convention::Units::kBoxesInMillimetres)
    changes.push_back("divide x y z dx dy dz of the boxes by 1000");
  if (c.units == Convention::Units::kPointsInMillimetres) changes.push_back("divide x y z of the points by 1000");
  if (c.units == Convention::Units::kAllInMillimetres) changes.push_back("divide all lengths by 1000");
  if (c.axes == Convention::Axes::kMirrored) changes.push_back("negate y and heading of the boxes");
  if (c.axes == Convention::Axes::kQuarterLeft)
    changes.push_back("write -y x for x y of the boxes and add pi/2 to the heading");
  if (c.axes == Convention::Axes::kQuarterRight) {
    changes.push_back("write y -x for x y of the boxes and subtract pi/2 from the heading");
  }
  if (c.height == Convention::Height::kBottom) changes.push_back("add dz/2 to z");
  if (c.height == Convention::Height::kTop) changes.push_back("subtract dz/2 from z");
  if (c.clockwise) changes.push_back("negate the heading");
  if (wide) changes.push_back("exchange dx and dy");
  if (c.quarter && !wide) changes.push_back("add pi/2 to the heading, or subtract it (kdctl data view shows which)");
  if (!c.quarter && wide) changes.push_back("add pi/2 to the heading, or subtract it (kdctl data view shows which)");
  return changes;
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

DataVerdict JudgeData(const ConventionReport& report, const FrameSurvey& survey, const std::string& format) {
  std::vector<std::string> found, changes;
  const ConventionReport::Row& declared = report.rows.at(0);
  const ConventionReport::Row& best = report.rows.at(report.best);
  if (report.best != 0 || report.wide()) {
    found.push_back(absl::StrFormat("%s (score %.2f, as declared %.2f, %d boxes)",
                                    NameOf(best.convention, report.wide()), best.score, declared.score, report.boxes));
    changes = Changes(best.convention, report.wide());
  } else if (report.reversed()) {
    found.push_back(absl::StrFormat("headings point backwards (%.0f cars)",
                                    report.front_setback.count + report.rear_setback.count));
    changes.push_back("add pi to the heading");
  }
  if (survey.columns.size() > 2) {
    const double x = survey.columns[0].spread.mean(), y = survey.columns[1].spread.mean();
    const Convention::Units units = best.convention.units;
    const bool metres = units == Convention::Units::kMetres || units == Convention::Units::kBoxesInMillimetres;
    if (metres && std::hypot(x, y) > kFarthestMean) {
      found.push_back(absl::StrFormat("points lie around (%.0f, %.0f), far from the sensor", x, y));
      changes.push_back("subtract the sensor's position from points and boxes, and turn both by its heading");
    }
  }
  if (survey.columns.size() > kIntensity) {
    const Extent& intensity = survey.columns[kIntensity];
    const bool bytes = format == "nuscenes";
    if (!bytes && intensity.most > 1) {
      const double scale = std::max<double>(kByte, intensity.most);
      found.push_back(absl::StrFormat("intensity 0..%g instead of 0..1", scale));
      changes.push_back(absl::StrFormat("divide the intensity by %g", scale));
    } else if (bytes && intensity.most <= 1 && intensity.most > 0) {
      found.push_back("intensity 0..1 instead of 0..255");
      changes.push_back("multiply the intensity by 255");
    }
  }
  DataVerdict verdict{.fits = found.empty(), .remedy = absl::StrJoin(changes, "; ")};
  if (!verdict.fits) {
    verdict.text = absl::StrCat("does not fit: ", absl::StrJoin(found, "; "));
  } else if (report.undecided()) {
    verdict.text = absl::StrCat("too few boxes with points to tell: ", report.boxes);
  } else {
    verdict.text = absl::StrFormat("fits as declared (score %.2f, %d boxes)", declared.score, report.boxes);
  }
  return verdict;
}

}  // namespace kd
