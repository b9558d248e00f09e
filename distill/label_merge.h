// Label distillation: teacher boxes as extra ground truth (kd-methods.md section 2.5).
#ifndef KD_DISTILL_LABEL_MERGE_H_
#define KD_DISTILL_LABEL_MERGE_H_

#include <vector>

#include "data/frame.h"

namespace kd {

struct LabelMergeOptions {
  enum class Score {
    kClass,  // the detection's score
    kIou,    // best 3D IoU with any ground truth
    kMixed,  // best 3D IoU with a ground truth of class 0 for class 0, the score for others
  };
  Score score = Score::kClass;
  // Per class; a teacher box passes when its score is strictly greater.
  std::vector<float> thresholds;
  bool use_ground_truth = true;
  bool ground_truth_first = false;
};

struct MergedLabels {
  std::vector<LabeledBox> boxes;
  int num_teacher_boxes = 0;
};
// Ground truth without length is padding and is left out. A frame without ground truth has IoU 0 everywhere.
MergedLabels MergeLabels(const std::vector<LabeledBox>& ground_truth, const std::vector<Detection>& teacher,
                         const LabelMergeOptions& options);

// Share of the teacher's boxes whose centre lies within `distance` metres (seen from above) of a label; 1 without
// boxes. Below one half the teacher saw another view than the labels show.
double ShareOfBoxesOnLabels(const std::vector<Detection>& teacher, const std::vector<LabeledBox>& labels,
                            double distance);

}  // namespace kd

#endif  // KD_DISTILL_LABEL_MERGE_H_
