// Own data in OpenPCDet's layout (docs/own-data.md):
// ROOT/{ImageSets/<split>.txt, points/NAME.{bin,npy,pcd}, labels/NAME.txt}.
#ifndef KD_DATA_CUSTOM_DATASET_H_
#define KD_DATA_CUSTOM_DATASET_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/point_rows.h"

namespace kd {

// Frames have `data.point_columns` numbers a point (0: 4): x, y, z, intensity, ... The intensity is the file's divided
// by `data.intensity_scale` (0: 1). Points with a number that is not finite are left out. `data.fov_crop` means nothing
// here. NOT_FOUND: a folder of the layout is missing. INVALID_ARGUMENT: no class names.
absl::StatusOr<std::unique_ptr<Dataset>> OpenCustomDataset(const v1::Data& data, BoxSizes sizes = BoxSizes::kPossible);

// Rows of a .bin (`bin_columns` float32 each), .npy or .pcd file, as its name ends, with whatever they hold.
// DATA_LOSS: it is damaged or of another kind; NOT_FOUND: no such file.
absl::StatusOr<PointRows> ReadPointFile(const std::string& path, size_t bin_columns);

// The classes that the labels of `samples` name, sorted. Files that cannot be read are passed over.
std::vector<std::string> FindCustomClasses(const std::string& root, const std::vector<std::string>& samples);

}  // namespace kd

#endif  // KD_DATA_CUSTOM_DATASET_H_
