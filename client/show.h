// `kdctl show` and `kdctl data view`: a frame as a PNG.
#ifndef KD_CLIENT_SHOW_H_
#define KD_CLIENT_SHOW_H_

#include <string>

#include "absl/status/status.h"
#include "data/dataset.h"

namespace kd {

struct ShowOptions {
  std::string root, sample, out;
  // As in data.format; teacher and student are drawn in KITTI's alone.
  std::string format = "kitti";
  // Of other formats: what data set it is, opened.
  const Dataset* dataset = nullptr;
  // Folders of KITTI result files; empty: not drawn.
  std::string teacher, student;
  // Detections below this score are left out.
  double min_score = 0.3;
};

// From top to bottom: the camera images when the frame has some, close-ups of the four nearest objects, the bird's-eye
// view with the points. KITTI: labels of the classes that it scores (green), other labels (grey), the teacher's boxes
// (blue) and the student's (orange). Other formats: the labels of the data set's classes. In Waymo's five images boxes
// are drawn as if lenses did not distort and shutters did not roll, which is off by some pixels; the page says so.
// nuScenes's frames are turned so that the vehicle looks up; the upper row of images looks ahead, the lower one back.
// NOT_FOUND: a file of the frame or of its detections is missing. DATA_LOSS, INVALID_ARGUMENT: one cannot be read.
absl::Status ShowFrame(const ShowOptions& options);

}  // namespace kd

#endif  // KD_CLIENT_SHOW_H_
