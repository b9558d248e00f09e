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

// Bird's-eye view with points, ground truth (green), teacher (blue) and student (orange); below it the camera image with
// the same boxes when the frame has one.
absl::Status ShowFrame(const ShowOptions& options);

}  // namespace kd

#endif  // KD_CLIENT_SHOW_H_
