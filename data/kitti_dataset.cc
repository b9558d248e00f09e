#include "data/kitti_dataset.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "data/custom_dataset.h"
#include "data/image_sets.h"
#include "data/kitti_label.h"
#include "data/nuscenes_dataset.h"
#include "data/split_digest.h"
#include "data/waymo_dataset.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

constexpr int kPointFeatures = 4;
constexpr uint32_t kMaxImageSide = 16384;
constexpr double kLargestObject = 100;
constexpr uint64_t kMaxPointBytes = uint64_t{1} << 30;

std::string PathOf(const std::string& root, absl::string_view folder, absl::string_view sample,
                   absl::string_view ending) {
  return absl::StrCat(root, "/training/", folder, "/", sample, ending);
}

// A damaged file of the data set is DATA_LOSS whatever the parser called it.
absl::Status AsDataLoss(const absl::Status& status) { return absl::DataLossError(status.message()); }

class KittiDataset : public Dataset {
 public:
  KittiDataset(const v1::Data& data, BoxSizes sizes)
      : root_(data.root()),
        fov_crop_(data.fov_crop()),
        sizes_(sizes),
        class_names_(data.class_names().begin(), data.class_names().end()) {}

  const std::vector<std::string>& class_names() const override { return class_names_; }

  absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const override {
    return ReadImageSet(root_, split);
  }

  absl::StatusOr<Frame> Read(const std::string& sample) const override {
    if (!IsFrameName(sample)) {
      return absl::NotFoundError(absl::StrCat("no frame \"", absl::CEscape(sample.substr(0, 64)), "\" in ", root_,
                                              "; names look like 000134"));
    }
    Frame frame;
    frame.sample = sample;
    frame.num_features = kPointFeatures;
    KD_ASSIGN_OR_RETURN(frame.points, ReadKittiPoints(PathOf(root_, "velodyne", sample, ".bin"), &frame.not_finite));
    KD_ASSIGN_OR_RETURN(const KittiCalib calib, ReadKittiCalib(root_, sample));
    if (fov_crop_) {
      KD_ASSIGN_OR_RETURN(const ImageSize image, ReadKittiImageSize(root_, sample));
      CropToImage(calib, image, frame.points);
    }
    KD_ASSIGN_OR_RETURN(frame.boxes, ReadBoxes(sample, calib));
    return frame;
  }

  absl::StatusOr<std::string> Digest(const std::string& split) const override {
    return DigestOf(split, fov_crop_ ? "fov\n" : "all\n");
  }
  absl::StatusOr<std::string> DigestWithoutCrop(const std::string& split) const override {
    return DigestOf(split, "all\n");
  }

 private:
  absl::StatusOr<std::string> DigestOf(const std::string& split, const char* crop) const {
    KD_ASSIGN_OR_RETURN(const std::vector<std::string> names, Split(split));
    const std::string head = absl::StrCat("kitti\n", crop, absl::StrJoin(class_names_, "\n"), "\n");
    return SplitDigest(head, names.size(), [&](size_t i) -> absl::StatusOr<std::string> {
      const std::string& name = names[i];
      const std::string points = PathOf(root_, "velodyne", name, ".bin");
      std::error_code error;
      const uintmax_t size = fs::file_size(points, error);
      if (error) {
        return absl::NotFoundError(absl::StrCat("frame ", name, " of split \"", split, "\": ", points,
                                                " is missing; add it or take the name out of the split"));
      }
      KD_ASSIGN_OR_RETURN(const std::string calib, ReadFile(PathOf(root_, "calib", name, ".txt"), kMaxDataTextBytes));
      KD_ASSIGN_OR_RETURN(const std::string labels,
                          ReadFile(PathOf(root_, "label_2", name, ".txt"), kMaxDataTextBytes));
      return absl::StrCat(name, " ", size, " ", calib.size(), " ", labels.size(), "\n", calib, labels);
    });
  }

  absl::StatusOr<std::vector<LabeledBox>> ReadBoxes(const std::string& sample, const KittiCalib& calib) const {
    const std::string path = PathOf(root_, "label_2", sample, ".txt");
    KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxDataTextBytes));
    const absl::StatusOr<std::vector<KittiObject>> objects = ParseKittiObjects(text, KittiText::kLabels, path);
    if (!objects.ok()) return AsDataLoss(objects.status());
    std::vector<LabeledBox> boxes;
    for (const KittiObject& object : *objects) {
      const auto name = std::find(class_names_.begin(), class_names_.end(), object.type);
      if (name == class_names_.end()) continue;
      const auto possible = [this](double size) {
        return static_cast<float>(size) > 0 && (size <= kLargestObject || sizes_ == BoxSizes::kAny);
      };
      if (!possible(object.length) || !possible(object.width) || !possible(object.height)) {
        return absl::DataLossError(absl::StrCat(path, ": object ", &object - objects->data() + 1, " (", object.type,
                                                ") is ", object.height, " x ", object.width, " x ", object.length,
                                                " m, sizes must be above 0 and at most ", kLargestObject,
                                                "; mend or remove the line"));
      }
      boxes.push_back({.box = KittiToLidar(object, calib), .label = static_cast<int32_t>(name - class_names_.begin())});
    }
    return boxes;
  }

  static void CropToImage(const KittiCalib& calib, const ImageSize& image, std::vector<float>& points) {
    size_t kept = 0;
    for (size_t i = 0; i < points.size(); i += kPointFeatures) {
      const Vec3 camera = calib.LidarToCamera({points[i], points[i + 1], points[i + 2]});
      if (camera[2] < 0) continue;
      const Vec3 pixel = calib.CameraToImage(camera);
      if (!(pixel[0] >= 0 && pixel[0] < image.width && pixel[1] >= 0 && pixel[1] < image.height)) continue;
      std::copy_n(points.begin() + i, kPointFeatures, points.begin() + kept);
      kept += kPointFeatures;
    }
    points.resize(kept);
  }

  const std::string root_;
  const bool fov_crop_;
  const BoxSizes sizes_;
  const std::vector<std::string> class_names_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenKittiDataset(const v1::Data& data, BoxSizes sizes) {
  for (const char* part : {"", "/ImageSets", "/training/velodyne", "/training/calib", "/training/label_2"}) {
    const std::string path = data.root() + part;
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      return absl::NotFoundError(
          absl::StrCat("data.root \"", data.root(), "\": ", path,
                       " is not a folder; correct the path or mount the data set "
                       "there (KITTI's layout: ImageSets/ and training/{velodyne,calib,label_2}/)"));
    }
  }
  if (data.class_names().empty()) {
    return absl::InvalidArgumentError(
        "data.class_names is empty; name the classes to learn, for example [Car, Pedestrian, Cyclist]");
  }
  return std::make_unique<KittiDataset>(data, sizes);
}

absl::StatusOr<KittiCalib> ReadKittiCalib(const std::string& root, const std::string& sample) {
  const std::string path = PathOf(root, "calib", sample, ".txt");
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxDataTextBytes));
  absl::StatusOr<KittiCalib> calib = ParseKittiCalib(text, path);
  if (!calib.ok()) return AsDataLoss(calib.status());
  return calib;
}

absl::StatusOr<ImageSize> ReadKittiImageSize(const std::string& root, const std::string& sample) {
  const std::string path = PathOf(root, "image_2", sample, ".png");
  std::error_code error;
  if (!fs::exists(path, error)) return ImageSize{};
  // A PNG starts with an 8-byte signature and the IHDR chunk: length, type, width, height (big-endian).
  constexpr size_t kHeaderBytes = 24;
  std::array<unsigned char, kHeaderBytes> head{};
  std::FILE* file = std::fopen(path.c_str(), "rb");
  const size_t got = file == nullptr ? 0 : std::fread(head.data(), 1, kHeaderBytes, file);
  if (file != nullptr) std::fclose(file);
  if (got != kHeaderBytes || std::memcmp(head.data(), "\x89PNG\r\n\x1a\n", 8) != 0) {
    return absl::DataLossError(absl::StrCat(path, " is not a PNG file; copy it anew"));
  }
  const auto big_endian = [&](size_t at) {
    uint32_t value = 0;
    for (size_t i = at; i < at + 4; ++i) value = value << 8 | head[i];
    return value;
  };
  const uint32_t width = big_endian(16), height = big_endian(20);
  if (width == 0 || height == 0 || width > kMaxImageSide || height > kMaxImageSide) {
    return absl::DataLossError(absl::StrCat(path, ": the header says ", width, " x ", height, " pixels, expected 1 to ",
                                            kMaxImageSide, " a side; copy it anew"));
  }
  return ImageSize{.width = static_cast<int>(width), .height = static_cast<int>(height)};
}

absl::StatusOr<std::vector<float>> ReadKittiPoints(const std::string& path, size_t* not_finite) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxPointBytes));
  constexpr size_t kRow = kPointFeatures * sizeof(float);
  if (bytes.size() % kRow != 0) {
    return absl::DataLossError(absl::StrCat(path, ": ", bytes.size(), " bytes are not a whole number of points (", kRow,
                                            " bytes each); the file is cut short, copy it anew"));
  }
  if (bytes.empty()) return absl::DataLossError(absl::StrCat(path, " is empty; the file is cut short, copy it anew"));
  std::vector<float> points(bytes.size() / sizeof(float));
  std::memcpy(points.data(), bytes.data(), bytes.size());
  size_t kept = 0;
  for (size_t i = 0; i < points.size(); i += kPointFeatures) {
    const bool finite = std::all_of(&points[i], &points[i] + kPointFeatures, [](float v) { return std::isfinite(v); });
    if (!finite) continue;
    if (kept != i) std::copy_n(points.begin() + i, kPointFeatures, points.begin() + kept);
    kept += kPointFeatures;
  }
  if (not_finite != nullptr) *not_finite = (points.size() - kept) / kPointFeatures;
  points.resize(kept);
  return points;
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const v1::Data& data, BoxSizes sizes) {
  // Messages that no job file was read into have 0.
  if (data.format() != "custom" && data.intensity_scale() != 0 && data.intensity_scale() != 1) {
    return absl::InvalidArgumentError(absl::StrCat("data.intensity_scale is ", data.intensity_scale(),
                                                   ", and the intensity of format ", data.format(),
                                                   " is read as it is; leave it out"));
  }
  if (data.format() == "kitti") return OpenKittiDataset(data, sizes);
  if (data.format() == "nuscenes") return OpenNuscenesDataset(data);
  if (data.format() == "waymo") return OpenWaymoDataset(data, sizes);
  if (data.format() == "custom") return OpenCustomDataset(data, sizes);
  return absl::InvalidArgumentError(absl::StrCat(
      "data.format \"", data.format(), "\" is not known; use \"kitti\", \"nuscenes\", \"waymo\" or \"custom\""));
}

}  // namespace kd
