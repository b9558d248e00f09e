#include "data/object_sampler.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/rng.h"
#include "base/status.h"
#include "data/box_frame.h"

namespace kd {
namespace {

// `count` different ones of `from`, or all, in random order.
std::vector<size_t> Draw(CounterRng& rng, const std::vector<size_t>& from, size_t count) {
  // The first steps of a shuffle of `from`, of which only the places that changed are kept.
  absl::flat_hash_map<size_t, size_t> changed;
  const auto at = [&](size_t place) {
    const auto found = changed.find(place);
    return found == changed.end() ? from[place] : found->second;
  };
  std::vector<size_t> drawn;
  for (size_t i = 0; i < std::min(count, from.size()); ++i) {
    const size_t j = i + rng.Below(from.size() - i);
    drawn.push_back(at(j));
    changed[j] = at(i);
  }
  return drawn;
}

// Appends the object's points in the frame's axes.
void AppendPoints(const DatabaseObject& object, size_t columns, std::vector<float>& points) {
  const BoxFrame own(object.box.box);
  for (size_t i = 0; i < object.points.size(); i += columns) {
    const float* row = &object.points[i];
    for (const double value : own.FromBox(row)) points.push_back(static_cast<float>(value));
    points.insert(points.end(), row + 3, row + columns);
  }
}

// Appends the rows of `from` that are in none of the objects' boxes.
void AppendOutside(const std::vector<DatabaseObject>& objects, size_t columns, const std::vector<float>& from,
                   std::vector<float>& points) {
  struct Place {
    Box3d box;
    BoxFrame own;
    double radius;
  };
  std::vector<Place> places;
  for (const DatabaseObject& object : objects) {
    const Box3d& box = object.box.box;
    places.push_back({box, BoxFrame(box), std::hypot(double{box.dx}, double{box.dy}) / 2});
  }
  for (size_t i = 0; i < from.size(); i += columns) {
    const float* p = &from[i];
    const bool covered = std::any_of(places.begin(), places.end(), [p](const Place& place) {
      return std::abs(p[0] - place.box.x) <= place.radius && std::abs(p[1] - place.box.y) <= place.radius &&
             Holds(place.box, place.own.ToBox(p));
    });
    if (!covered) points.insert(points.end(), p, p + columns);
  }
}

constexpr char kField[] = "data.augmentation.objects";

// FAILED_PRECONDITION: `info` is not of data.train_split.
absl::Status CheckSource(const ObjectDatabaseInfo& info, const v1::Data& data, const Dataset& dataset) {
  const std::string& split = data.train_split();
  const std::string classes = absl::StrJoin(dataset.class_names(), ",");
  const auto differs = [&](absl::string_view what, absl::string_view here, absl::string_view there) {
    std::string layout = data.format();
    if (layout == "custom") absl::StrAppend(&layout, " --point-columns ", data.point_columns());
    const bool scaled = data.intensity_scale() != 0 && data.intensity_scale() != 1;
    if (scaled) absl::StrAppend(&layout, " --intensity-scale ", data.intensity_scale());
    if (layout == "nuscenes") absl::StrAppend(&layout, " --sweeps ", data.sweeps());
    return absl::FailedPreconditionError(
        absl::StrCat(kField, ": the object database of split \"", split, "\" in ", data.augmentation().objects(),
                     " has ", what, " ", here, ", the split in ", data.root(), " has ", there,
                     "; make it anew in another folder: kdctl data prepare --data ", data.root(), " --format ", layout,
                     " --split ", split, " --classes ", classes, " --out FOLDER"));
  };
  if (info.class_names != dataset.class_names()) {
    return differs("classes", absl::StrJoin(info.class_names, ","), classes);
  }
  // Tells everything, the columns too; no frame has to be read.
  KD_ASSIGN_OR_RETURN(const std::string digest, dataset.DigestWithoutCrop(split));
  if (info.digest == digest) return absl::OkStatus();
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, dataset.Split(split));
  const absl::StatusOr<Frame> frame = samples.empty() ? Frame() : dataset.Read(samples[0]);
  if (frame.ok() && static_cast<uint32_t>(frame->num_features) != info.point_columns) {
    return differs("columns a point:", absl::StrCat(info.point_columns), absl::StrCat(frame->num_features));
  }
  return differs("digest", info.digest, digest);
}

}  // namespace

ObjectSampler::ObjectSampler(ObjectDatabase database, std::vector<Class> classes, uint64_t seed)
    : database_(std::move(database)), classes_(std::move(classes)), seed_(seed) {}

absl::StatusOr<std::unique_ptr<const ObjectSampler>> ObjectSampler::Open(const v1::Data& data, const Dataset& dataset) {
  const v1::Augmentation& augmentation = data.augmentation();
  absl::StatusOr<ObjectDatabase> database = ObjectDatabase::Open(augmentation.objects(), data.train_split());
  if (!database.ok()) return Annotate(database.status(), kField);
  KD_RETURN_IF_ERROR(CheckSource(database->info(), data, dataset));
  std::vector<Class> classes(database->info().class_names.size());
  for (size_t i = 0; i < database->entries().size(); ++i) classes[database->entries()[i].label].objects.push_back(i);
  const size_t counted = std::min<size_t>(classes.size(), augmentation.paste_size());
  for (size_t label = 0; label < counted; ++label) classes[label].drawn = augmentation.paste(static_cast<int>(label));
  return std::unique_ptr<const ObjectSampler>(new ObjectSampler(*std::move(database), std::move(classes), data.seed()));
}

absl::StatusOr<Frame> ObjectSampler::Paste(Frame frame, uint32_t view) const {
  const size_t columns = database_.info().point_columns;
  if (static_cast<size_t>(frame.num_features) != columns) {
    return absl::InvalidArgumentError(absl::StrCat("frame ", frame.sample, " has ", frame.num_features,
                                                   " columns a point, the objects to paste have ", columns));
  }
  std::vector<DatabaseObject> pasted;
  for (size_t label = 0; label < classes_.size(); ++label) {
    // A generator for each class, so that another number of one class leaves the draws of the others alone.
    CounterRng rng(RngKeyBuilder().Add("paste").Add(seed_).Add(frame.sample).Add(view).Add(label).key());
    for (const size_t index : Draw(rng, classes_[label].objects, classes_[label].drawn)) {
      KD_ASSIGN_OR_RETURN(DatabaseObject object, database_.Read(index));
      const bool collides = std::any_of(frame.boxes.begin(), frame.boxes.end(), [&](const LabeledBox& there) {
        return OverlapFromAbove(there.box, object.box.box);
      });
      if (collides) continue;
      frame.boxes.push_back(object.box);
      pasted.push_back(std::move(object));
    }
  }
  if (pasted.empty()) return frame;
  std::vector<float> points;
  points.reserve(frame.points.size());
  for (const DatabaseObject& object : pasted) AppendPoints(object, columns, points);
  AppendOutside(pasted, columns, frame.points, points);
  frame.points = std::move(points);
  return frame;
}

}  // namespace kd
