// The official splits of nuScenes: lists of scenes.
#ifndef KD_DATA_NUSCENES_SPLITS_H_
#define KD_DATA_NUSCENES_SPLITS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

// mini_train, mini_val, train, val, test.
std::vector<std::string> NuscenesSplitNames();

// Scene names ("scene-0003") of a split, ascending. NOT_FOUND: no such split, naming those there are.
absl::StatusOr<std::vector<std::string>> NuscenesSplitScenes(absl::string_view split);

// The folder of tables that holds a split's scenes: v1.0-mini, v1.0-trainval or v1.0-test.
std::string NuscenesSplitVersion(absl::string_view split);

}  // namespace kd

#endif  // KD_DATA_NUSCENES_SPLITS_H_
