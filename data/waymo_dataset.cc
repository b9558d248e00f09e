#include "data/waymo_dataset.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/visit_in_parallel.h"
#include "data/split_digest.h"
#include "data/tfrecord.h"
#include "data/waymo_frame.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

constexpr int kPointFeatures = 5;
constexpr double kLargestObject = 100;

struct SplitFolder {
  const char* name;
  const char* folder;
};
constexpr SplitFolder kSplits[] = {{"train", "training"}, {"val", "validation"}, {"test", "testing"}};
constexpr char kTrainingFolder[] = "training";

struct Segment {
  std::string folder, path;
};
// By context name, in order.
using Segments = std::map<std::string, Segment>;

// The context name in "segment-<context name>_with_camera_labels.tfrecord"; empty for other files.
std::string ContextOf(absl::string_view file_name) {
  if (!absl::ConsumePrefix(&file_name, "segment-") || !absl::ConsumeSuffix(&file_name, ".tfrecord")) return "";
  absl::ConsumeSuffix(&file_name, "_with_camera_labels");
  const bool plain = std::all_of(file_name.begin(), file_name.end(),
                                 [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
  return plain ? std::string(file_name) : "";
}

std::string SampleName(absl::string_view context, size_t record) { return absl::StrFormat("%s/%03d", context, record); }

// To [-pi, pi).
double WrapAngle(double angle) {
  const double wrapped = std::remainder(angle, 2 * M_PI);
  return wrapped < M_PI ? wrapped : wrapped - 2 * M_PI;
}

class WaymoDataset : public Dataset {
 public:
  WaymoDataset(const v1::Data& data, Segments segments, BoxSizes sizes)
      : root_(data.root()),
        sizes_(sizes),
        class_names_(data.class_names().begin(), data.class_names().end()),
        segments_(std::move(segments)) {}

  const std::vector<std::string>& class_names() const override { return class_names_; }

  absl::StatusOr<std::vector<std::string>> Split(const std::string& split) const override {
    std::vector<std::string> names;
    KD_RETURN_IF_ERROR(
        ForEachRecord(split, [&](const std::string& name, const TfRecordFile::Record&) { names.push_back(name); }));
    return names;
  }

  absl::StatusOr<Frame> Read(const std::string& sample) const override {
    KD_ASSIGN_OR_RETURN(const Record record, ReadRecord(sample));
    Frame frame{.sample = sample, .num_features = kPointFeatures};
    frame.points = Points(record.frame, record.folder == kTrainingFolder, frame.not_finite);
    absl::StatusOr<std::vector<LabeledBox>> boxes = Boxes(record.frame);
    if (!boxes.ok()) return Annotate(boxes.status(), record.place);
    frame.boxes = *std::move(boxes);
    return frame;
  }

  struct Record {
    WaymoFrame frame;
    std::string folder;
    // For messages.
    std::string place;
  };
  absl::StatusOr<Record> ReadRecord(const std::string& sample) const {
    KD_ASSIGN_OR_RETURN(const Payload payload, ReadPayload(sample));
    absl::StatusOr<WaymoFrame> frame = ParseWaymoFrame(payload.bytes);
    if (!frame.ok()) return Annotate(frame.status(), payload.place);
    return Record{.frame = *std::move(frame), .folder = payload.folder, .place = payload.place};
  }

  absl::StatusOr<WaymoFrameId> ReadId(const std::string& sample) const {
    KD_ASSIGN_OR_RETURN(const Payload payload, ReadPayload(sample));
    absl::StatusOr<WaymoFrameId> id = ParseWaymoFrameId(payload.bytes);
    if (!id.ok()) return Annotate(id.status(), payload.place);
    return id;
  }

  absl::StatusOr<std::string> Digest(const std::string& split) const override {
    Sha256 hasher;
    hasher.Update(absl::StrCat("waymo\n", absl::StrJoin(class_names_, "\n"), "\n"));
    KD_RETURN_IF_ERROR(ForEachRecord(split, [&](const std::string& name, const TfRecordFile::Record& record) {
      hasher.Update(absl::StrCat(name, " ", record.length, " ", record.masked_crc, "\n"));
    }));
    return hasher.Finish();
  }

 private:
  struct Payload {
    std::string bytes, folder;
    // For messages.
    std::string place;
  };
  absl::StatusOr<Payload> ReadPayload(const std::string& sample) const {
    const size_t slash = sample.rfind('/');
    const auto segment = slash == std::string::npos ? segments_.end() : segments_.find(sample.substr(0, slash));
    const auto not_found = [&](absl::string_view problem) {
      return absl::NotFoundError(
          absl::StrCat("no frame \"", absl::CEscape(sample.substr(0, 80)), "\" in ", root_, ": ", problem));
    };
    if (segment == segments_.end()) return not_found("no such segment; names look like <context name>/017");
    KD_ASSIGN_OR_RETURN(const std::shared_ptr<const TfRecordFile> file, IndexOf(segment->second.path));
    size_t number = 0;
    if (!absl::SimpleAtoi(sample.substr(slash + 1), &number) || number >= file->records().size() ||
        SampleName(segment->first, number) != sample) {
      return not_found(
          absl::StrCat("its segment has frames 000 to ", absl::StrFormat("%03d", file->records().size() - 1)));
    }
    KD_ASSIGN_OR_RETURN(std::string bytes, file->Read(number));
    return Payload{.bytes = std::move(bytes), .folder = segment->second.folder, .place = file->Place(number)};
  }

  // Calls `visit` with the name and the place of every frame of `split`.
  template <typename Visit>
  absl::Status ForEachRecord(const std::string& split, const Visit& visit) const {
    const auto known = std::find_if(std::begin(kSplits), std::end(kSplits),
                                    [&](const SplitFolder& s) { return split == s.name || split == s.folder; });
    if (known == std::end(kSplits)) {
      return absl::NotFoundError(absl::StrCat("no split \"", absl::CEscape(split.substr(0, 64)), "\" in ", root_,
                                              "; there are: ", ExistingSplits()));
    }
    std::vector<const std::string*> paths;
    for (const auto& [context, segment] : segments_) {
      if (segment.folder == known->folder) paths.push_back(&segment.path);
    }
    // Walking from record to record is waiting, most of it.
    KD_RETURN_IF_ERROR(
        VisitInParallel(0, paths.size(), kFileThreads, [&](size_t, size_t i) { return IndexOf(*paths[i]).status(); }));
    for (const auto& [context, segment] : segments_) {
      if (segment.folder != known->folder) continue;
      KD_ASSIGN_OR_RETURN(const std::shared_ptr<const TfRecordFile> file, IndexOf(segment.path));
      for (size_t i = 0; i < file->records().size(); ++i) visit(SampleName(context, i), file->records()[i]);
    }
    if (!paths.empty()) return absl::OkStatus();
    return absl::NotFoundError(
        absl::StrCat("no split \"", split, "\": ", root_, "/", known->folder,
                     " has no segment-*.tfrecord; add them or name another, there are: ", ExistingSplits()));
  }

  std::string ExistingSplits() const {
    std::vector<std::string> names;
    for (const SplitFolder& split : kSplits) {
      const bool found = std::any_of(segments_.begin(), segments_.end(),
                                     [&](const auto& entry) { return entry.second.folder == split.folder; });
      if (found) names.emplace_back(split.name);
    }
    return absl::StrJoin(names, ", ");
  }

  // Where the records of a segment lie, found once.
  absl::StatusOr<std::shared_ptr<const TfRecordFile>> IndexOf(const std::string& path) const {
    {
      const absl::MutexLock lock(&mutex_);
      const auto found = indexes_.find(path);
      if (found != indexes_.end()) return found->second;
    }
    KD_ASSIGN_OR_RETURN(TfRecordFile file, TfRecordFile::Open(path));
    const absl::MutexLock lock(&mutex_);
    return indexes_.try_emplace(path, std::make_shared<const TfRecordFile>(std::move(file))).first->second;
  }

  static std::vector<float> Points(const WaymoFrame& frame, bool drop_no_label_zones, size_t& not_finite) {
    std::vector<float> points;
    for (const WaymoCloud& cloud : frame.clouds) {
      for (const WaymoPoint& p : cloud.points) {
        if (drop_no_label_zones && p.in_no_label_zone) continue;
        const float row[kPointFeatures] = {
            static_cast<float>(p.position[0]), static_cast<float>(p.position[1]), static_cast<float>(p.position[2]),
            static_cast<float>(std::tanh(static_cast<double>(p.intensity))), p.elongation};
        const bool finite = std::all_of(std::begin(row), std::end(row), [](float v) { return std::isfinite(v); });
        if (finite) points.insert(points.end(), std::begin(row), std::end(row));
        not_finite += !finite;
      }
    }
    return points;
  }

  absl::StatusOr<std::vector<LabeledBox>> Boxes(const WaymoFrame& frame) const {
    std::vector<LabeledBox> boxes;
    for (const WaymoLabel& label : frame.labels) {
      const std::string type = WaymoTypeName(label.type);
      const auto name = std::find(class_names_.begin(), class_names_.end(), type);
      if (name == class_names_.end() || label.num_points <= 0) continue;
      const auto possible = [this](double size) {
        return static_cast<float>(size) > 0 && (size <= kLargestObject || sizes_ == BoxSizes::kAny);
      };
      if (!possible(label.length) || !possible(label.width) || !possible(label.height)) {
        return absl::DataLossError(absl::StrCat("label ", &label - frame.labels.data(), " (", type, ") is ",
                                                label.length, " x ", label.width, " x ", label.height,
                                                " m, sizes must be above 0 and at most ", kLargestObject,
                                                "; the file is damaged, copy it anew"));
      }
      boxes.push_back({.box = {.x = static_cast<float>(label.x),
                               .y = static_cast<float>(label.y),
                               .z = static_cast<float>(label.z),
                               .dx = static_cast<float>(label.length),
                               .dy = static_cast<float>(label.width),
                               .dz = static_cast<float>(label.height),
                               .yaw = static_cast<float>(WrapAngle(label.heading))},
                       .label = static_cast<int32_t>(name - class_names_.begin()),
                       .vx = static_cast<float>(frame.pose[0] * label.speed_x + frame.pose[4] * label.speed_y),
                       .vy = static_cast<float>(frame.pose[1] * label.speed_x + frame.pose[5] * label.speed_y),
                       .num_points = label.num_points,
                       .difficulty = label.difficulty});
    }
    return boxes;
  }

  const std::string root_;
  const BoxSizes sizes_;
  const std::vector<std::string> class_names_;
  const Segments segments_;
  mutable absl::Mutex mutex_;
  mutable std::map<std::string, std::shared_ptr<const TfRecordFile>> indexes_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<Segments> FindSegments(const std::string& root) {
  Segments segments;
  for (const SplitFolder& split : kSplits) {
    const std::string folder = absl::StrCat(root, "/", split.folder);
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      const std::string context = ContextOf(it->path().filename().string());
      if (context.empty()) continue;
      const auto [place, added] =
          segments.try_emplace(context, Segment{.folder = split.folder, .path = it->path().string()});
      if (!added) {
        return absl::InvalidArgumentError(absl::StrCat("segment ", context, " is there twice: ", place->second.path,
                                                       " and ", it->path().string(), "; remove one"));
      }
    }
    if (error && error != std::errc::no_such_file_or_directory) {
      return absl::UnavailableError(absl::StrCat("cannot list \"", folder, "\": ", error.message()));
    }
  }
  return segments;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenWaymoDataset(const v1::Data& data, BoxSizes sizes) {
  if (data.class_names().empty()) {
    return absl::InvalidArgumentError(
        "data.class_names is empty; name the classes to learn, for example [Vehicle, Pedestrian, Cyclist]");
  }
  for (const std::string& name : data.class_names()) {
    const std::vector<std::string> known = {"Vehicle", "Pedestrian", "Sign", "Cyclist"};
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return absl::InvalidArgumentError(absl::StrCat("data.class_names: Waymo has no \"",
                                                     absl::CEscape(name.substr(0, 64)), "\"; use ",
                                                     absl::StrJoin(known, ", ")));
    }
  }
  KD_ASSIGN_OR_RETURN(Segments segments, FindSegments(data.root()));
  if (segments.empty()) {
    return absl::NotFoundError(
        absl::StrCat("data.root \"", data.root(),
                     "\" holds no segments; correct the path or mount the data "
                     "set there (Waymo's layout: {training,validation,testing}/segment-*.tfrecord)"));
  }
  return std::make_unique<WaymoDataset>(data, std::move(segments), sizes);
}

absl::StatusOr<WaymoFrame> ReadWaymoFrame(const std::string& root, const std::string& sample) {
  KD_ASSIGN_OR_RETURN(Segments segments, FindSegments(root));
  v1::Data data;
  data.set_root(root);
  KD_ASSIGN_OR_RETURN(WaymoDataset::Record record,
                      WaymoDataset(data, std::move(segments), BoxSizes::kPossible).ReadRecord(sample));
  return std::move(record.frame);
}

absl::StatusOr<WaymoFrameId> ReadWaymoFrameId(const Dataset& dataset, const std::string& sample) {
  const auto* const waymo = dynamic_cast<const WaymoDataset*>(&dataset);
  if (waymo == nullptr) return absl::InvalidArgumentError("frames of another data set than Waymo have no time stamps");
  return waymo->ReadId(sample);
}

}  // namespace kd
