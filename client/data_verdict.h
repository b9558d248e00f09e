// What kdctl data check says in the end.
#ifndef KD_CLIENT_DATA_VERDICT_H_
#define KD_CLIENT_DATA_VERDICT_H_

#include <string>

#include "data/convention.h"
#include "data/survey.h"

namespace kd {

struct DataVerdict {
  // Nothing speaks against the declared convention.
  bool fits = true;
  // One line: what was found.
  std::string text;
  // What to do; empty when it fits.
  std::string remedy;
};

// `format`: as in data.format, which says how large intensities are: 0..255 in nuscenes, 0..1 elsewhere.
DataVerdict JudgeData(const ConventionReport& report, const FrameSurvey& survey, const std::string& format);

}  // namespace kd

#endif  // KD_CLIENT_DATA_VERDICT_H_
