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

// Flip, rotation, scaling and the order of points.
void Move(const v1::Data& data, uint32_t view, Frame& frame) {
  const v1::Augmentation& augmentation = data.augmentation();
  CounterRng rng(RngKeyBuilder().Add("view").Add(data.seed()).Add(frame.sample).Add(view).key());
  // All draws are made whatever the ranges are, so that changing one range leaves the others' values alone.
  const bool flip = rng.Uniform() < augmentation.flip_y();
  const float angle = static_cast<float>(rng.Uniform(-augmentation.rotation(), augmentation.rotation()));
  const float scale = static_cast<float>(rng.Uniform(augmentation.scale_min(), augmentation.scale_max()));
  const float c = static_cast<float>(std::cos(static_cast<double>(angle))) * scale;
  const float s = static_cast<float>(std::sin(static_cast<double>(angle))) * scale;
  const float mirror = flip ? -1.0f : 1.0f;

  const auto move = [&](float& x, float& y, float& z) {
    const float flipped = mirror * y;
    const float x0 = x;
    x = c * x0 - s * flipped;
    y = s * x0 + c * flipped;
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
    box.yaw = WrapAngle(mirror * box.yaw + angle);
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
