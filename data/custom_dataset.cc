#include "data/custom_dataset.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "data/custom_label.h"
#include "data/image_sets.h"
#include "data/split_digest.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxPointBytes = uint64_t{1} << 30;
constexpr size_t kUsualColumns = 4;
constexpr float kLargestObject = 100;
constexpr const char* kEndings[] = {".bin", ".npy", ".pcd"};
// Its place among the columns.
constexpr size_t kIntensity = 3;

std::string LabelPath(const std::string& root, const std::string& sample) {
  return absl::StrCat(root, "/labels/", sample, ".txt");
}

// NOT_FOUND: none. DATA_LOSS: more than one.
absl::StatusOr<std::string> PointPath(const std::string& root, const std::string& sample) {
  const std::string stem = absl::StrCat(root, "/points/", sample);
  std::vector<std::string> found;
  for (const char* ending : kEndings) {
    std::error_code error;
    if (fs::exists(stem + ending, error)) found.push_back(stem + ending);
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat(stem, ".{bin,npy,pcd} is missing; add it or take the name out of the split"));
  }
  if (found.size() > 1) {
    return absl::DataLossError(
        absl::StrCat(absl::StrJoin(found, " and "), " are points of one frame; remove all but one"));
  }
  return found[0];
}

absl::StatusOr<PointRows> ParseBin(const std::string& bytes, size_t columns, const std::string& path) {
  const size_t row = columns * sizeof(float);
  if (bytes.size() % row != 0) {
    return absl::DataLossError(absl::StrCat(path, ": ", bytes.size(), " bytes are not a whole number of points of ",
                                            columns, " columns (", row,
                                            " bytes each); copy the file anew, or set data.point_columns"));
  }
  PointRows rows{.values = std::vector<float>(bytes.size() / sizeof(float)), .columns = columns};
  if (!bytes.empty()) std::memcpy(rows.values.data(), bytes.data(), bytes.size());
  return rows;
}

// The first names of columns.
std::string Shown(const std::vector<std::string>& names) {
  constexpr size_t kMost = 8;
  const auto append = [](std::string* out, const std::string& name) {
    absl::StrAppend(out, absl::CHexEscape(name.substr(0, 16)));
  };
  const auto end = names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kMost));
  return absl::StrCat(absl::StrJoin(names.begin(), end, ", ", append), end == names.end() ? "" : ", ...");
}

class CustomDataset : public Dataset {
 public:
  CustomDataset(const v1::Data& data, BoxSizes sizes)
      : root_(data.root()),
        columns_(data.point_columns() == 0 ? kUsualColumns : data.point_columns()),
        intensity_scale_(data.intensity_scale() == 0 ? 1 : data.intensity_scale()),
        sizes_(sizes),
        class_names_(data.class_names().begin(), data.class_names().end()) {}

  const std::vector<std::string>& class_names() const override { return class_names_; }

  absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const override {
    return ReadImageSet(root_, split);
  }

  absl::StatusOr<Frame> Read(const std::string& sample) const override {
    if (!IsFrameName(sample)) {
      return absl::NotFoundError(absl::StrCat("no frame \"", absl::CEscape(sample.substr(0, 64)), "\" in ", root_,
                                              "; names are letters, digits, '_', '-' and '.'"));
    }
    Frame frame{.sample = sample, .num_features = static_cast<int>(columns_)};
    KD_RETURN_IF_ERROR(ReadPoints(frame));
    KD_ASSIGN_OR_RETURN(frame.boxes, ReadBoxes(LabelPath(root_, sample)));
    return frame;
  }

  absl::StatusOr<std::string> Digest(const std::string& split) const override {
    KD_ASSIGN_OR_RETURN(const std::vector<std::string> names, Split(split));
    const std::string scale = intensity_scale_ == 1 ? "" : absl::StrFormat(" intensity / %.9g", intensity_scale_);
    const std::string head = absl::StrCat("custom\n", columns_, scale, "\n", absl::StrJoin(class_names_, "\n"), "\n");
    return SplitDigest(head, names.size(), [&](size_t i) -> absl::StatusOr<std::string> {
      KD_ASSIGN_OR_RETURN(const std::string points, PointPath(root_, names[i]));
      std::error_code error;
      const uintmax_t size = fs::file_size(points, error);
      if (error) return absl::UnavailableError(absl::StrCat("cannot stat ", points, ": ", error.message()));
      KD_ASSIGN_OR_RETURN(const std::string labels, ReadFile(LabelPath(root_, names[i]), kMaxDataTextBytes));
      return absl::StrCat(names[i], " ", fs::path(points).extension().string(), " ", size, " ", labels.size(), "\n",
                          labels);
    });
  }

 private:
  absl::Status ReadPoints(Frame& frame) const {
    KD_ASSIGN_OR_RETURN(const std::string path, PointPath(root_, frame.sample));
    KD_ASSIGN_OR_RETURN(PointRows rows, ReadPointFile(path, columns_));
    // The files that tell how many columns they have may have more than are asked for.
    if (rows.columns < columns_) {
      return absl::DataLossError(absl::StrCat(
          path, ": ", rows.columns, " columns", rows.names.empty() ? "" : absl::StrCat(" (", Shown(rows.names), ")"),
          ", expected ", columns_, "; set data.point_columns, or add what is missing to the file"));
    }
    if (columns_ > kIntensity && !rows.names.empty() && !IsPcdIntensity(rows.names[kIntensity])) {
      return absl::DataLossError(
          absl::StrCat(path, ": no field intensity among ", Shown(rows.names),
                       ", and column 4 of a point is its intensity; rename the field that holds it, add one of zeros, "
                       "or set data.point_columns: 3 for a detector without it"));
    }
    for (size_t i = 0; i < rows.num_points(); ++i) {
      float* const row = &rows.values[i * rows.columns];
      if (columns_ > kIntensity) row[kIntensity] /= intensity_scale_;
      if (std::all_of(row, row + columns_, [](float v) { return std::isfinite(v); })) {
        frame.points.insert(frame.points.end(), row, row + columns_);
      } else {
        ++frame.not_finite;
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<LabeledBox>> ReadBoxes(const std::string& path) const {
    KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxDataTextBytes));
    KD_ASSIGN_OR_RETURN(const std::vector<CustomObject> objects, ParseCustomObjects(text, path));
    std::vector<LabeledBox> boxes;
    for (const CustomObject& object : objects) {
      const auto name = std::find(class_names_.begin(), class_names_.end(), object.type);
      if (name == class_names_.end()) continue;
      if (sizes_ == BoxSizes::kPossible && std::max({object.box.dx, object.box.dy, object.box.dz}) > kLargestObject) {
        return absl::DataLossError(absl::StrCat(
            path, ": object ", &object - objects.data() + 1, " (", absl::CHexEscape(object.type.substr(0, 40)), ") is ",
            object.box.dx, " x ", object.box.dy, " x ", object.box.dz, " m, at most ", kLargestObject,
            " are possible; kdctl data check tells whether they are millimetres"));
      }
      boxes.push_back({.box = object.box, .label = static_cast<int32_t>(name - class_names_.begin())});
    }
    return boxes;
  }

  const std::string root_;
  const size_t columns_;
  const float intensity_scale_;
  const BoxSizes sizes_;
  const std::vector<std::string> class_names_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenCustomDataset(const v1::Data& data, BoxSizes sizes) {
  for (const char* part : {"", "/ImageSets", "/points", "/labels"}) {
    const std::string path = data.root() + part;
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      return absl::NotFoundError(absl::StrCat("data.root \"", data.root(), "\": ", path,
                                              " is not a folder; correct the path or mount the data "
                                              "set there (own data: ImageSets/, points/ and labels/)"));
    }
  }
  if (data.class_names().empty()) {
    return absl::InvalidArgumentError(
        "data.class_names is empty; name the classes to learn as they stand in the label files, for example [Car, "
        "Cyclist]");
  }
  return std::make_unique<CustomDataset>(data, sizes);
}

absl::StatusOr<PointRows> ReadPointFile(const std::string& path, size_t bin_columns) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path, kMaxPointBytes));
  if (bytes.empty()) return absl::DataLossError(absl::StrCat(path, " is empty; the file is cut short, copy it anew"));
  if (absl::EndsWith(path, ".npy")) return ParseNpy(bytes, path);
  if (absl::EndsWith(path, ".pcd")) return ParsePcd(bytes, path);
  if (absl::EndsWith(path, ".bin")) return ParseBin(bytes, bin_columns, path);
  return absl::InvalidArgumentError(absl::StrCat(path, " is not a .bin, .npy or .pcd file"));
}

std::vector<std::string> FindCustomClasses(const std::string& root, const std::vector<std::string>& samples) {
  std::set<std::string> names;
  for (const std::string& sample : samples) {
    const absl::StatusOr<std::string> text = ReadFile(LabelPath(root, sample), kMaxDataTextBytes);
    if (!text.ok()) continue;
    const absl::StatusOr<std::vector<CustomObject>> objects = ParseCustomObjects(*text, sample);
    if (!objects.ok()) continue;
    for (const CustomObject& object : *objects) names.insert(object.type);
  }
  return {names.begin(), names.end()};
}

}  // namespace kd
