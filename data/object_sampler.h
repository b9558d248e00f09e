// Objects of other frames for views to paste: SECOND's and OpenPCDet's "ground-truth sampling". Unlike there, two
// objects of one draw that overlap do not both stay out, objects that the frame has already are not counted, and none
// is moved up or down to the road.
#ifndef KD_DATA_OBJECT_SAMPLER_H_
#define KD_DATA_OBJECT_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "data/frame.h"
#include "data/object_database.h"
#include "kd/v1/view.pb.h"

namespace kd {

// Immutable and thread-safe. Keeps the database's index; objects are read when they are drawn.
class ObjectSampler {
 public:
  // Opens the database of data.train_split in data.augmentation.objects. `dataset` is data's own; it may be cropped,
  // although the database never is. Errors: those of ObjectDatabase::Open, which name the field, and of `dataset`;
  // FAILED_PRECONDITION: the database has other classes, columns or frames than the split; names both and the command
  // that makes it anew.
  static absl::StatusOr<std::unique_ptr<const ObjectSampler>> Open(const v1::Data& data, const Dataset& dataset);

  // `frame` with objects pasted where they were recorded. Draws data.augmentation.paste[c] different objects of every
  // class c, class after class, from generators keyed by (data.seed, frame.sample, view, c); leaves out who overlaps,
  // seen from above, a box of the frame or one pasted before. Boxes are appended in the order drawn, and points of the
  // frame in a pasted box make way for the object's, which come first.
  // DATA_LOSS: an object is damaged. INVALID_ARGUMENT: the frame has other columns than the objects.
  absl::StatusOr<Frame> Paste(Frame frame, uint32_t view) const;

  // ObjectDatabase::digest
  const std::string& digest() const { return database_.digest(); }

 private:
  struct Class {
    // Indices of the database's entries.
    std::vector<size_t> objects;
    size_t drawn = 0;
  };

  ObjectSampler(ObjectDatabase database, std::vector<Class> classes, uint64_t seed);

  const ObjectDatabase database_;
  // By label.
  const std::vector<Class> classes_;
  const uint64_t seed_;
};

}  // namespace kd

#endif  // KD_DATA_OBJECT_SAMPLER_H_
