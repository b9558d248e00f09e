// Frames of a data set by name.
#ifndef KD_DATA_DATASET_H_
#define KD_DATA_DATASET_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/frame.h"
#include "kd/v1/view.pb.h"

namespace kd {

// Thread-safe. Reads files on demand and keeps no frame.
class Dataset {
 public:
  virtual ~Dataset() = default;

  // Sample names of a split, in the order of ROOT/ImageSets/<split>.txt, or of the files where a split is a folder.
  // NOT_FOUND: no such split, naming the ones that exist. INVALID_ARGUMENT: a line that is no frame name (with its
  // number).
  virtual absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const = 0;

  // The frame as recorded (view 0): points, cropped to the camera's view where the data set says so, and boxes of
  // class_names() only.
  // NOT_FOUND: a file of it is missing, or `sample` cannot be a name. DATA_LOSS: a file is damaged; the message names
  // file, place and rule.
  virtual absl::StatusOr<Frame> Read(const std::string& sample) const = 0;

  virtual const std::vector<std::string>& class_names() const = 0;

  // Names the content: "sha256:..." over format, class names, crop setting and, for each sample of the split in order,
  // its name, the size of its points file and the bytes of its labels and calibration; or, where one record holds it
  // all, its length and checksum.
  virtual absl::StatusOr<std::string> Digest(const std::string& split) const = 0;

  // Digest() of the same data opened without crop, as object databases name them.
  virtual absl::StatusOr<std::string> DigestWithoutCrop(const std::string& split) const { return Digest(split); }
};

// Samples to train on: every data.train_interval-th of data.train_split, the first one included. Errors: those of
// Dataset::Split; INVALID_ARGUMENT: the interval is longer than the split.
absl::StatusOr<std::vector<std::string>> TrainSamples(const Dataset& dataset, const v1::Data& data);

enum class BoxSizes {
  kPossible,  // a box of more than 100 m is DATA_LOSS
  kAny,       // for those who look for wrong units; not of nuScenes, whose limit is 1 km
};

// Opens `data.root` in the layout `data.format`.
// NOT_FOUND: the folder or one of its parts is missing. INVALID_ARGUMENT: unknown format, or an intensity_scale of one
// that has none.
absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const v1::Data& data, BoxSizes sizes = BoxSizes::kPossible);

}  // namespace kd

#endif  // KD_DATA_DATASET_H_
