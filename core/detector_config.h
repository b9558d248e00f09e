// Built-in detector configurations and how a student's follows from its teacher's. No torch.
#ifndef KD_CORE_DETECTOR_CONFIG_H_
#define KD_CORE_DETECTOR_CONFIG_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/safetensors.h"
#include "kd/v1/detector.pb.h"
#include "kd/v1/job.pb.h"

namespace kd {

// "centerpoint_pillar" (Waymo, SparseKD's CP-Pillar teacher), "centerpoint_pillar_kitti" (a KITTI range at 0.16 m),
// "centerpoint_pillar_nuscenes" (OpenPCDet's, on dynamic pillars), "centerpoint_pillar_sim" (the small one of
// docs/benchmark.md), "centerpoint_voxel" (Waymo, SparseKD's CP-Voxel teacher), "centerpoint_voxel_kitti" (CaKDP's
// student), "centerpoint_voxel_nuscenes" (OpenPCDet's, 0.075 m), "pointpillar" and "second" (Waymo, SparseKD's),
// "pointpillar_kitti", "second_kitti", "pv_rcnn_kitti" and "part_a2_kitti" (OpenPCDet's), "voxel_rcnn_kitti" (CaKDP's
// teacher of three classes). NOT_FOUND with the known names.
absl::StatusOr<v1::Detector> BuiltInDetector(absl::string_view name);

// The student's detector: `base` (teacher's or built-in), then pair.student.detector's set fields, then those of
// compress: widths are floor(w * c), at least 1; resolution r makes voxels 1/r as large in x and y. Errors are
// ValidateDetector's.
absl::StatusOr<v1::Detector> MakeStudentDetector(const v1::Detector& base, const v1::StudentSpec& student);

// INVALID_ARGUMENT: lists of unequal length, empty range, a range that is no whole number of voxels, or along x and y
// no multiple of the backbone's strides (names the nearest range and the nearest voxel that are), ...
absl::Status ValidateDetector(const v1::Detector& detector);

// Metadata key of a weights file under which its detector message stands, as protobuf JSON.
inline constexpr char kWeightsDetectorKey[] = "kd.detector";

// The detector message of a weights file. INVALID_ARGUMENT: absent or not valid.
absl::StatusOr<v1::Detector> DetectorOf(const SafeTensorsFile& file);

// Whether pillars hold all their points and a frame all its pillars, without padding: max_points_per_voxel is 0.
bool HasDynamicPillars(const v1::Detector& detector);

// Whether a point's own x, y, z enter the pillar encoder: unless vfe.use_absolute_xyz was written as false.
bool HasAbsoluteXyz(const v1::PillarVfe& vfe);

// Raised where this code changes what a detector answers beyond rounding, so that responses that were kept before are
// not taken for those of now; 1 for detectors that never changed.
uint32_t AnswersRevision(const v1::Detector& detector);

// Voxels per cell of the map that the head reads, along x and y.
float FeatureMapStride(const v1::Detector& detector);

// Cells of the voxel grid along x, y, z.
std::array<int, 3> GridCells(const v1::Detector& detector);

}  // namespace kd

#endif  // KD_CORE_DETECTOR_CONFIG_H_
