// What kdctl data check says in the end.
#ifndef KD_CLIENT_DATA_VERDICT_H_
#define KD_CLIENT_DATA_VERDICT_H_

#include <string>

#include "data/convention.h"
#include "data/survey.h"

namespace kd {

struct DataVerdict {
  // Nothing speaks against the declared convention, if only because too few boxes can be judged.
  bool fits = true;
  // One line: what was found.
  std::string text;
  // What to do, in the names of the format's fields; empty when it fits beyond doubt.
  std::string remedy;
};

// `format`: as in data.format, which says how large intensities are: 0..255 in nuscenes, 0..1 elsewhere, and few above
// in waymo. `intensity_scale`: what those of own data were divided by.
DataVerdict JudgeData(const ConventionReport& report, const FrameSurvey& survey, const std::string& format,
                      double intensity_scale = 1);

}  // namespace kd

#endif  // KD_CLIENT_DATA_VERDICT_H_
