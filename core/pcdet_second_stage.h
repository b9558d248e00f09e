// Second stages of OpenPCDet's configurations: ROI_HEAD with PFE and POINT_HEAD (detectors.md section 7).
#ifndef KD_CORE_PCDET_SECOND_STAGE_H_
#define KD_CORE_PCDET_SECOND_STAGE_H_

#include "core/pcdet_reader.h"
#include "core/yaml_tree.h"
#include "kd/v1/detector.pb.h"

namespace kd {

// Adds to `detector`, whose first stage has been read, the second one that `model` has. Proposals, keypoints and
// what these gather from are as configured; widths, radii, samples and cells have to be those of PV-RCNN, Voxel R-CNN
// and Part-A2 for KITTI, which are built in. `reader` tells what is not.
void ReadSecondStage(PcdetReader& reader, const YamlNode& model, v1::Detector& detector);

}  // namespace kd

#endif  // KD_CORE_PCDET_SECOND_STAGE_H_
