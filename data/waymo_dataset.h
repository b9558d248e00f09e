// Segments of the Waymo Open Dataset v1: ROOT/{training,validation,testing}/segment-*.tfrecord (datasets.md section 3).
#ifndef KD_DATA_WAYMO_DATASET_H_
#define KD_DATA_WAYMO_DATASET_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/waymo_frame.h"

namespace kd {

// A sample is "<context name>/<number of the record, three digits>". Splits are the folders: "train" or "training",
// "val" or "validation", "test" or "testing"; segments in the order of their names. Points are x, y, z,
// tanh(intensity), elongation of both returns of all lasers; boxes are those with points inside. Points of training/
// that lie in a no-label zone are left out. `data.fov_crop` means nothing here.
// NOT_FOUND: none of the folders is there. INVALID_ARGUMENT: a class that Waymo has not, or a segment in two folders.
absl::StatusOr<std::unique_ptr<Dataset>> OpenWaymoDataset(const v1::Data& data, BoxSizes sizes = BoxSizes::kPossible);

// All that the record of `sample` holds, images and calibrations among it. Errors as those of Dataset::Read.
absl::StatusOr<WaymoFrame> ReadWaymoFrame(const std::string& root, const std::string& sample);

// Of `dataset`, which OpenWaymoDataset made: INVALID_ARGUMENT for another. Errors as those of Dataset::Read.
absl::StatusOr<WaymoFrameId> ReadWaymoFrameId(const Dataset& dataset, const std::string& sample);

}  // namespace kd

#endif  // KD_DATA_WAYMO_DATASET_H_
