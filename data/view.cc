#include "data/view.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/rng.h"
#include "base/status.h"

namespace kd {
namespace {

float WrapAngle(float angle) {
  constexpr double kTurn = 2 * M_PI;
  return static_cast<float>(angle - kTurn * std::floor(angle / kTurn + 0.5));
}

void ShufflePoints(CounterRng& rng, int num_features, std::vector<float>& points) {
  for (size_t i = points.size() / num_features; i > 1; --i) {
    const size_t j = rng.Below(i);
    if (j + 1 == i) continue;
    std::swap_ranges(points.begin() + (i - 1) * num_features, points.begin() + i * num_features,
                     points.begin() + j * num_features);
  }
}

bool IsFlippedInX(const v1::Data& data, absl::string_view sample, uint32_t view) {
  // By a generator of its own: the other draws of a view, of which teachers keep answers, are those that it always had.
  CounterRng rng(RngKeyBuilder().Add("view flip_x").Add(data.seed()).Add(sample).Add(view).key());
  return rng.Uniform() < data.augmentation().flip_x();
}

// Flips, rotation, scaling and the order of points.
void Move(const v1::Data& data, uint32_t view, Frame& frame) {
  const v1::Augmentation& augmentation = data.augmentation();
  CounterRng rng(RngKeyBuilder().Add("view").Add(data.seed()).Add(frame.sample).Add(view).key());
  // All draws are made whatever the ranges are, so that changing one range leaves the others' values alone.
  const float mirror_y = rng.Uniform() < augmentation.flip_y() ? -1.0f : 1.0f;
  const float angle = static_cast<float>(rng.Uniform(-augmentation.rotation(), augmentation.rotation()));
  const float scale = static_cast<float>(rng.Uniform(augmentation.scale_min(), augmentation.scale_max()));
  const float c = static_cast<float>(std::cos(static_cast<double>(angle))) * scale;
  const float s = static_cast<float>(std::sin(static_cast<double>(angle))) * scale;
  const bool flip_x = IsFlippedInX(data, frame.sample, view);
  const float mirror_x = flip_x ? -1.0f : 1.0f;

  const auto move = [&](float& x, float& y, float& z) {
    const float x0 = mirror_x * x, y0 = mirror_y * y;
    x = c * x0 - s * y0;
    y = s * x0 + c * y0;
    z *= scale;
  };
  for (size_t i = 0; i < frame.points.size(); i += frame.num_features) {
    move(frame.points[i], frame.points[i + 1], frame.points[i + 2]);
  }
  for (LabeledBox& labeled : frame.boxes) {
    Box3d& box = labeled.box;
    move(box.x, box.y, box.z);
    box.dx *= scale;
    box.dy *= scale;
    box.dz *= scale;
    const float yaw = mirror_y * box.yaw;
    box.yaw = WrapAngle((flip_x ? static_cast<float>(M_PI) - yaw : yaw) + angle);
    float level = 0;
    move(labeled.vx, labeled.vy, level);
  }
  ShufflePoints(rng, frame.num_features, frame.points);
}

}  // namespace

ViewMaker::ViewMaker(v1::Data data, std::shared_ptr<const ObjectSampler> objects)
    : data_(std::move(data)), objects_(std::move(objects)) {}

absl::StatusOr<ViewMaker> ViewMaker::Open(const v1::Data& data, const Dataset& dataset) {
  if (data.augmentation().objects().empty()) return ViewMaker(data, nullptr);
  KD_ASSIGN_OR_RETURN(std::shared_ptr<const ObjectSampler> objects, ObjectSampler::Open(data, dataset));
  return ViewMaker(data, std::move(objects));
}

absl::StatusOr<Frame> ViewMaker::Make(Frame frame, uint32_t view) const {
  if (view == 0) return frame;
  if (objects_ != nullptr) {
    KD_ASSIGN_OR_RETURN(frame, objects_->Paste(std::move(frame), view));
  }
  Move(data_, view, frame);
  return frame;
}

std::string ViewMaker::FilesDigest(const std::string& dataset_digest) const {
  return objects_ == nullptr ? dataset_digest : absl::StrCat(dataset_digest, " with objects ", objects_->digest());
}

std::string ViewMaker::Profile() const {
  v1::Augmentation ranges = data_.augmentation();
  // FilesDigest() tells what is in the folder, wherever it is.
  ranges.clear_objects();
  return Sha256Digest(absl::StrCat(kViewVersion, "/", data_.seed(), "/", ranges.SerializeAsString()));
}

uint32_t ViewChecksum(const Frame& view) {
  uint32_t crc =
      Crc32c(absl::string_view(reinterpret_cast<const char*>(view.points.data()), view.points.size() * sizeof(float)));
  for (const LabeledBox& labeled : view.boxes) {
    const Box3d& b = labeled.box;
    const float values[] = {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw, static_cast<float>(labeled.label)};
    crc = Crc32c(absl::string_view(reinterpret_cast<const char*>(values), sizeof(values)), crc);
    // Views of frames without velocities keep the checksum that they had before boxes had any.
    const float velocity[] = {labeled.vx, labeled.vy};
    if (labeled.vx == 0 && labeled.vy == 0) continue;
    crc = Crc32c(absl::string_view(reinterpret_cast<const char*>(velocity), sizeof(velocity)), crc);
  }
  return crc;
}

}  // namespace kd
