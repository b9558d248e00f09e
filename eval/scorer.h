// Scores a detector's boxes by the official measure of their data set.
#ifndef KD_EVAL_SCORER_H_
#define KD_EVAL_SCORER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/frame.h"
#include "kd/v1/view.pb.h"

namespace kd {

// Gathers frames one after the other. Not thread-safe.
class Scorer {
 public:
  virtual ~Scorer() = default;

  // `frame` as recorded and what was detected in it. Codes of the files that a measure reads besides.
  virtual absl::Status Add(const Frame& frame, const std::vector<Detection>& detections) = 0;

  // After the last frame: writes result files that hold all frames, and answers percent by name. "center_distance/mAP",
  // "center_distance/Car", ... of every data set; "kitti/Car/3d/moderate/R40", ... (strict overlaps) of KITTI;
  // "nuscenes/NDS", "nuscenes/mAP", "nuscenes/car/AP", ... of nuScenes, and its errors as they are,
  // "nuscenes/trans_err"; "waymo/Vehicle/L2/AP", ".../APH", ... and "waymo/mAPH/L2" (mean over the classes) of Waymo;
  // "lidar/Car/3d@0.7/30-50m", "lidar/Car/bev@0.5/all", ... and "lidar/mAP" (3d@0.5/all, mean over the classes that are
  // there) of own data.
  // INTERNAL or codes of the data set's files.
  virtual absl::StatusOr<std::map<std::string, double>> Finish() = 0;
};

// With a folder, result files are written into it: SAMPLE.txt of KITTI, submission.json of nuScenes, detections.bin (a
// serialized Objects message) of Waymo.
// INVALID_ARGUMENT: a folder for a format that has no such files. FAILED_PRECONDITION: tables of nuScenes without
// annotations and no folder; with one, their submission is written and nothing is scored.
// `dataset` is of `data` and must outlive the scorer.
absl::StatusOr<std::unique_ptr<Scorer>> NewScorer(const v1::Data& data, const Dataset& dataset,
                                                  const std::string& detections_folder);

}  // namespace kd

#endif  // KD_EVAL_SCORER_H_
