// Augmentation as a function with a number: the same (seed, sample, view) is the same frame on every machine, so that a
// teacher's answer to it can be kept (docs/architecture.md, "View").
#ifndef KD_DATA_VIEW_H_
#define KD_DATA_VIEW_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/frame.h"
#include "data/object_sampler.h"
#include "kd/v1/view.pb.h"

namespace kd {

// Counts changes of what ViewMaker makes: answers to views of another version are of no use.
inline constexpr int kViewVersion = 1;

// Immutable and thread-safe. Copies share the objects.
class ViewMaker {
 public:
  // Opens the object database that `data` names, if any; `dataset` is data's own. Errors: those of ObjectSampler::Open.
  static absl::StatusOr<ViewMaker> Open(const v1::Data& data, const Dataset& dataset);

  // View `view` of `frame`. View 0 is the frame as recorded. Others draw from counter-based generators keyed by
  // (data.seed, frame.sample, view): objects to paste, mirroring of y (yaw negated) and of x (pi - yaw), rotation about
  // z, scaling (positions, sizes and velocities), then the order of the points. Yaw ends in [-pi, pi). Boxes of the
  // frame come first, in their order, then the pasted ones.
  // Errors: those of ObjectSampler::Paste; none without pasting.
  absl::StatusOr<Frame> Make(Frame frame, uint32_t view) const;

  // Names the files that views come from: `dataset_digest` (Dataset::Digest) and the object database, if there is one.
  // Teacher and worker must have the same.
  std::string FilesDigest(const std::string& dataset_digest) const;
  // Names what is done to frames: version, seed and ranges.
  std::string Profile() const;

 private:
  ViewMaker(v1::Data data, std::shared_ptr<const ObjectSampler> objects);

  v1::Data data_;
  // Null: nothing is pasted.
  std::shared_ptr<const ObjectSampler> objects_;
};

// CRC-32C over the points and boxes of a view, bit for bit. Teacher and worker compare it before a response is used.
uint32_t ViewChecksum(const Frame& view);

}  // namespace kd

#endif  // KD_DATA_VIEW_H_
