#include "client/data_source.h"

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
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

struct Layout {
  const char* format;
  // Any of these below the root.
  std::vector<std::string> folders;
  std::vector<std::string> classes;
};

const std::vector<Layout>& Layouts() {
  static const auto* const layouts =
      new std::vector<Layout>{{"kitti", {"training/velodyne"}, {"Car", "Pedestrian", "Cyclist"}},
                              {"custom", {"points", "labels"}, {}},
                              {"nuscenes",
                               {"v1.0-trainval", "v1.0-mini", "v1.0-test"},
                               {"car", "truck", "construction_vehicle", "bus", "trailer", "barrier", "motorcycle",
                                "bicycle", "pedestrian", "traffic_cone"}},
                              {"waymo", {"training", "validation", "testing"}, {"Vehicle", "Pedestrian", "Cyclist"}}};
  return *layouts;
}

absl::StatusOr<std::string> FindFormat(const std::string& root) {
  for (const Layout& layout : Layouts()) {
    for (const std::string& folder : layout.folders) {
      std::error_code error;
      if (fs::is_directory(absl::StrCat(root, "/", folder), error)) return layout.format;
    }
  }
  return absl::NotFoundError(absl::StrCat("\"", root, "\" has the folders of no layout that is known"));
}

}  // namespace

void AddDataFlags(CLI::App& command, DataFlags& flags) {
  command.add_option("--data", flags.root, "Folder of the data set")->required();
  command.add_option("--format", flags.format, "kitti, waymo, custom, ...; default: as the folders look");
  command.add_option("--split", flags.split, "Name of a file in ImageSets, or of Waymo's folders")
      ->capture_default_str();
  command.add_option("--classes", flags.classes, "Classes, separated by commas; default: all usual ones")
      ->delimiter(',');
  command.add_option("--point-columns", flags.point_columns, "Numbers a point of own data")
      ->capture_default_str()
      ->check(CLI::Range(3, 64));
  command.add_option("--sweeps", flags.sweeps, "Clouds that a frame of nuScenes is made of")
      ->capture_default_str()
      ->check(CLI::Range(1, 40));
}

absl::StatusOr<OpenedData> OpenData(const DataFlags& flags, BoxSizes sizes) {
  OpenedData opened;
  v1::Data& data = opened.data;
  data.set_root(flags.root);
  data.set_format(flags.format);
  if (flags.format.empty()) {
    KD_ASSIGN_OR_RETURN(const std::string format, FindFormat(flags.root));
    data.set_format(format);
  }
  data.set_point_columns(flags.point_columns);
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
