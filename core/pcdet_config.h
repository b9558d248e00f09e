// OpenPCDet's configuration files as detectors of ours (detectors.md sections 2 to 8).
#ifndef KD_CORE_PCDET_CONFIG_H_
#define KD_CORE_PCDET_CONFIG_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kd/v1/detector.pb.h"

namespace kd {

// What a MODEL section takes from CLASS_NAMES and DATA_CONFIG.
struct PcdetData {
  std::vector<std::string> class_names;
  std::array<float, 6> point_cloud_range{};
  std::array<float, 3> voxel_size{};
  uint32_t num_point_features = 4;
  // 0 where DATA_PROCESSOR makes no voxels.
  uint32_t max_points_per_voxel = 5;
  uint32_t max_voxels_train = 16000, max_voxels_test = 40000;
};

// A MODEL section, as YAML or JSON, with the second stage that it may have (core/pcdet_second_stage.h).
// INVALID_ARGUMENT: a part that no detector here has (named, with those that are known), a value of the wrong kind, or
// sizes that do not fit together.
absl::StatusOr<v1::Detector> DetectorFromPcdetModel(absl::string_view model, const PcdetData& data);

// The section `section` ("MODEL" or "MODEL_TEACHER") of a file with CLASS_NAMES and DATA_CONFIG. _BASE_CONFIG_ is
// looked for beside the file and in every folder above it, as OpenPCDet's files name it from its tools folder.
// NOT_FOUND: a file is missing. INVALID_ARGUMENT: as above, with file (a base's own), line and column.
absl::StatusOr<v1::Detector> ReadPcdetConfig(const std::string& path, const std::string& section);

}  // namespace kd

#endif  // KD_CORE_PCDET_CONFIG_H_
