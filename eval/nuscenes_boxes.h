// A detector's boxes as nuScenes's metric wants them.
#ifndef KD_EVAL_NUSCENES_BOXES_H_
#define KD_EVAL_NUSCENES_BOXES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/frame.h"
#include "data/nuscenes_tables.h"
#include "eval/nuscenes_submission.h"

namespace kd {

// `detections` of a key frame, in its LiDAR's frame, moved to the global frame; the 500 best of them. Detection::label
// is an index into `class_names`. The attribute is guessed from class and speed, as OpenPCDet does. Boxes without a
// size are left out. NOT_FOUND: `sample` is not a sample's token. DATA_LOSS: it has no LiDAR key frame.
absl::StatusOr<NuscenesDetections> ToNuscenesDetections(const NuscenesTables& tables, const std::string& sample,
                                                        const std::vector<std::string>& class_names,
                                                        const std::vector<Detection>& detections);

}  // namespace kd

#endif  // KD_EVAL_NUSCENES_BOXES_H_
