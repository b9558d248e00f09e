// Where a detector's output map lies.
#ifndef KD_DISTILL_MAP_GEOMETRY_H_
#define KD_DISTILL_MAP_GEOMETRY_H_

#include "core/detector_config.h"
#include "distill/feature_loss.h"
#include "kd/v1/detector.pb.h"

namespace kd {

inline MapGeometry GeometryOf(const v1::Detector& detector) {
  const float stride = FeatureMapStride(detector);
  return {.low = {detector.point_cloud_range(0), detector.point_cloud_range(1)},
          .cell = {detector.voxel_size(0) * stride, detector.voxel_size(1) * stride}};
}

}  // namespace kd

#endif  // KD_DISTILL_MAP_GEOMETRY_H_
