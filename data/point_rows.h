// Point clouds of files that describe themselves, as rows of float32.
#ifndef KD_DATA_POINT_ROWS_H_
#define KD_DATA_POINT_ROWS_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

struct PointRows {
  // Row-major.
  std::vector<float> values;
  size_t columns = 0;
  // One per column, where the file names them.
  std::vector<std::string> names;

  size_t num_points() const { return columns == 0 ? 0 : values.size() / columns; }
};

// NumPy's .npy, versions 1 to 3: N x C of float32 or float64, little-endian, C order.
// DATA_LOSS: "<file>: ..." with the byte or the part of the header that is wrong; an array of objects, which NumPy
// pickles, is refused as such.
absl::StatusOr<PointRows> ParseNpy(absl::string_view bytes, absl::string_view file_name);

// The point cloud library's .pcd, version 0.7: DATA ascii, binary or binary_compressed. Columns: x, y, z, the first of
// intensity, Intensity and i where there is one, then the other fields with one number a point, in the file's order.
// DATA_LOSS: "<file>:<line>: ..." in the header and in ascii, "<file>: byte ..." behind it.
absl::StatusOr<PointRows> ParsePcd(absl::string_view bytes, absl::string_view file_name);

// Whether a field of that name is what ParsePcd() takes for the intensity.
bool IsPcdIntensity(absl::string_view field);

}  // namespace kd

#endif  // KD_DATA_POINT_ROWS_H_
