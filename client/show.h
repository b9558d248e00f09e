// `kdctl show`: a frame as a PNG.
#ifndef KD_CLIENT_SHOW_H_
#define KD_CLIENT_SHOW_H_

#include <string>

#include "absl/status/status.h"

namespace kd {

struct ShowOptions {
  std::string root, sample, out;
  // Folders of KITTI result files; empty: not drawn.
  std::string teacher, student;
  // Detections below this score are left out.
  double min_score = 0.3;
};

// From top to bottom: the camera image when the frame has one, close-ups of the four nearest objects, the bird's-eye
// view with the points. All show the labels of the classes that KITTI scores (green), other labels (grey), the
// teacher's boxes (blue) and the student's (orange). NOT_FOUND: a file of the frame or of its detections is missing.
// DATA_LOSS, INVALID_ARGUMENT: one cannot be read.
absl::Status ShowFrame(const ShowOptions& options);

}  // namespace kd

#endif  // KD_CLIENT_SHOW_H_
