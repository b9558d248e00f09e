// All that kdctl data does with a frame that could be read.
#ifndef KD_TESTS_FUZZ_DATA_USE_H_
#define KD_TESTS_FUZZ_DATA_USE_H_

#include "data/convention.h"
#include "data/object_database.h"
#include "data/survey.h"
#include "tests/fuzz/fuzz_target.h"

namespace kd {

inline void UseFrame(const Frame& frame, size_t classes) {
  FrameSurvey survey(classes);
  survey.Add(frame);
  Require(survey.points == frame.num_points() && survey.points_in_boxes <= survey.points, "points are counted once");
  ConventionEvidence evidence;
  evidence.Add(frame);
  Require(evidence.Conclude().best < AllConventions().size(), "a convention is one that is tried");
  for (const DatabaseObject& object : CutObjects(frame, 1)) Require(!object.points.empty(), "objects hold points");
}

}  // namespace kd

#endif  // KD_TESTS_FUZZ_DATA_USE_H_
