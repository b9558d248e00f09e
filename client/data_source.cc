#include "client/data_source.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/frame_progress.h"
#include "base/status.h"
#include "base/visit_in_parallel.h"
#include "client/output.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

// Labels that are looked through for the names of classes.
constexpr size_t kFramesForClasses = 500;
constexpr size_t kMostThreads = 16;

bool IsFolder(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool HasSegment(const std::string& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (absl::StartsWith(name, "segment-") && absl::EndsWith(name, ".tfrecord")) return true;
  }
  return false;
}

bool LooksLikeKitti(const std::string& root) {
  return IsFolder(root + "/training/velodyne") || IsFolder(root + "/training/label_2") ||
         IsFolder(root + "/training/calib");
}

bool LooksLikeOwn(const std::string& root) { return IsFolder(root + "/points") || IsFolder(root + "/labels"); }

bool LooksLikeNuscenes(const std::string& root) {
  std::error_code error;
  return IsFolder(root + "/v1.0-trainval") || IsFolder(root + "/v1.0-mini") || IsFolder(root + "/v1.0-test") ||
         fs::exists(root + "/sample.json", error);
}

bool LooksLikeWaymo(const std::string& root) {
  return HasSegment(root + "/training") || HasSegment(root + "/validation") || HasSegment(root + "/testing");
}

struct Layout {
  const char* format;
  bool (*fits)(const std::string& root);
  // What `fits` looks for.
  const char* parts;
  std::vector<std::string> classes;
};

const std::vector<Layout>& Layouts() {
  static const auto* const layouts = new std::vector<Layout>{
      {"kitti", LooksLikeKitti, "training/{velodyne,label_2,calib}/", {"Car", "Pedestrian", "Cyclist"}},
      {"custom", LooksLikeOwn, "points/ or labels/", {}},
      {"nuscenes",
       LooksLikeNuscenes,
       "v1.0-{trainval,mini,test}/ or sample.json",
       {"car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle", "bicycle", "pedestrian",
        "traffic_cone"}},
      {"waymo",
       LooksLikeWaymo,
       "{training,validation,testing}/segment-*.tfrecord",
       {"Vehicle", "Pedestrian", "Cyclist"}}};
  return *layouts;
}

absl::StatusOr<std::string> FindFormat(const std::string& root) {
  for (const Layout& layout : Layouts()) {
    if (layout.fits(root)) return layout.format;
  }
  const auto append = [](std::string* out, const Layout& layout) {
    absl::StrAppend(out, layout.format, " ", layout.parts);
  };
  return absl::NotFoundError(absl::StrCat("\"", root, "\" has the folders of no layout that is known: ",
                                          absl::StrJoin(Layouts(), "; ", append), " (docs/data-sets.md)"));
}

}  // namespace

void AddDataFlags(CLI::App& command, DataFlags& flags) {
  command.add_option("--data", flags.root, "Folder of the data set")->required();
  command.add_option("--format", flags.format, "kitti, nuscenes, waymo or custom; default: as the folders look")
      ->check(CLI::IsMember({"kitti", "nuscenes", "waymo", "custom"}));
  command
      .add_option("--split", flags.split,
                  "Name of a file in ImageSets; of Waymo train, val or test; of nuScenes train, val or test, of its "
                  "v1.0-mini mini_train or mini_val")
      ->capture_default_str();
  command.add_option("--classes", flags.classes, "Classes, separated by commas; default: all usual ones")
      ->delimiter(',');
  command.add_option("--point-columns", flags.point_columns, "Numbers a point of own data")
      ->capture_default_str()
      ->check(CLI::Range(3, 64));
  AddIntensityScale(command, flags.intensity_scale);
  command.add_option("--sweeps", flags.sweeps, "Clouds that a frame of nuScenes is made of")
      ->capture_default_str()
      ->check(CLI::Range(1, 40));
}

void AddIntensityScale(CLI::App& command, float& scale) {
  command
      .add_option("--intensity-scale", scale,
                  "Of own data: what intensities are divided by (data.intensity_scale of the job)")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 1e6));
}

absl::StatusOr<OpenedData> OpenData(const DataFlags& flags, BoxSizes sizes) {
  if (!IsFolder(flags.root)) return absl::NotFoundError(absl::StrCat("\"", flags.root, "\" is not a folder"));
  OpenedData opened;
  v1::Data& data = opened.data;
  data.set_root(flags.root);
  data.set_format(flags.format);
  if (flags.format.empty()) {
    KD_ASSIGN_OR_RETURN(const std::string format, FindFormat(flags.root));
    data.set_format(format);
  }
  data.set_point_columns(flags.point_columns);
  data.set_intensity_scale(flags.intensity_scale);
  data.set_sweeps(flags.sweeps);
  std::vector<std::string> classes = flags.classes;
  if (classes.empty()) {
    for (const Layout& layout : Layouts()) {
      if (layout.format == data.format()) classes = layout.classes;
    }
  }
  if (classes.empty() && data.format() == "custom") {
    data.add_class_names("-");
    KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> unnamed, OpenCustomDataset(data));
    KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, unnamed->Split(flags.split));
    data.clear_class_names();
    classes = FindCustomClasses(flags.root, SpreadOver(samples, kFramesForClasses));
    if (classes.empty()) classes.push_back("-");
  }
  for (const std::string& name : classes) data.add_class_names(name);
  KD_ASSIGN_OR_RETURN(opened.dataset, OpenDataset(data, sizes));
  return opened;
}

std::vector<std::string> SpreadOver(const std::vector<std::string>& samples, size_t count) {
  if (count == 0 || count >= samples.size()) return samples;
  std::vector<std::string> chosen;
  for (size_t i = 0; i < count; ++i) chosen.push_back(samples[i * samples.size() / count]);
  return chosen;
}

size_t ReadingThreads() { return std::clamp<size_t>(std::thread::hardware_concurrency(), 1, kMostThreads); }

absl::Status ForEachFrame(const Dataset& dataset, const std::vector<std::string>& samples, size_t first,
                          const std::string& verb,
                          const std::function<absl::Status(size_t, size_t, absl::StatusOr<Frame>)>& visit) {
  FrameProgress progress(verb, samples.size() - std::min(first, samples.size()));
  return VisitInParallel(first, samples.size(), ReadingThreads(), [&](size_t thread, size_t i) {
    const absl::Status status = visit(thread, i, dataset.Read(samples[i]));
    progress.Done();
    return status;
  });
}

}  // namespace kd
