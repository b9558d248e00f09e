#include "client/show.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "data/kitti_dataset.h"
#include "eval/picture_boxes.h"

namespace kd {
namespace {

constexpr Color kTruth{60, 220, 60}, kOther{140, 140, 140}, kTeacher{90, 150, 255}, kStudent{255, 150, 30};
constexpr double kTruthWidth = 5, kTeacherWidth = 3, kStudentWidth = 1;
// The bird's-eye view is as wide as the camera image, within bounds.
constexpr double kMetresAcross = 80, kMetresAhead = 70;
constexpr int kNarrowest = 400, kWidest = 4000;
constexpr int kCloseUps = 4, kCloseUpsAcross = 2;
constexpr double kSameObject = 2;  // metres

// Scored labels first, then the others.
absl::StatusOr<std::vector<BoxLayer>> LabelLayers(const std::string& path, const KittiCalib& calib) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  KD_ASSIGN_OR_RETURN(const std::vector<KittiObject> objects, ParseKittiObjects(text, KittiText::kLabels, path));
  std::vector<BoxLayer> layers = {{.name = "labels", .color = kTruth, .line_width = kTruthWidth},
                                  {.name = "labels of types not scored", .color = kOther}};
  for (const KittiObject& object : objects) {
    if (object.type == "DontCare") continue;
    const bool scored = object.type == "Car" || object.type == "Pedestrian" || object.type == "Cyclist";
    layers[scored ? 0 : 1].boxes.push_back({KittiToLidar(object, calib), object.type});
  }
  if (layers[1].boxes.empty()) layers.pop_back();
  return layers;
}

absl::StatusOr<BoxLayer> DetectionLayer(BoxLayer layer, const std::string& path, double min_score,
                                        const KittiCalib& calib) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  KD_ASSIGN_OR_RETURN(const std::vector<KittiObject> objects, ParseKittiObjects(text, KittiText::kResults, path));
  absl::StrAppend(&layer.name, ", score >= ", min_score);
  for (const KittiObject& object : objects) {
    if (object.score < min_score) continue;
    layer.boxes.push_back({KittiToLidar(object, calib), absl::StrFormat("%s %.2f", object.type, object.score)});
  }
  return layer;
}

// What deserves a close look, the nearest first: labels that are scored, and detections where no such label is.
std::vector<Box3d> Subjects(const std::vector<BoxLayer>& layers) {
  std::vector<Box3d> subjects;
  for (const BoxLayer& layer : layers) {
    if (layer.color == kOther) continue;
    for (const PictureBox& drawn : layer.boxes) {
      const auto same = [&](const Box3d& box) {
        return std::hypot(box.x - drawn.box.x, box.y - drawn.box.y) < kSameObject;
      };
      if (std::none_of(subjects.begin(), subjects.end(), same)) subjects.push_back(drawn.box);
    }
  }
  std::stable_sort(subjects.begin(), subjects.end(),
                   [](const Box3d& a, const Box3d& b) { return std::hypot(a.x, a.y) < std::hypot(b.x, b.y); });
  if (subjects.size() > kCloseUps) subjects.resize(kCloseUps);
  return subjects;
}

Image DrawPage(const Frame& frame, const std::vector<BoxLayer>& layers, const KittiCalib& calib, const ImageSize& size,
               std::optional<Image> camera) {
  Image bev = DrawBev(frame, layers,
                      {.x_min = 0,
                       .x_max = kMetresAhead,
                       .y_min = -kMetresAcross / 2,
                       .y_max = kMetresAcross / 2,
                       .pixels_per_metre = std::clamp(size.width, kNarrowest, kWidest) / kMetresAcross});
  DrawLegend(layers, bev);
  const std::vector<Box3d> subjects = Subjects(layers);
  const int side = bev.width() / (2 * kCloseUpsAcross);
  const int rows = (static_cast<int>(subjects.size()) + kCloseUpsAcross - 1) / kCloseUpsAcross;
  const int camera_height = camera ? camera->height() : 0;
  Image page(std::max(bev.width(), camera ? camera->width() : 0), camera_height + rows * side + bev.height());
  for (int i = 0; i < static_cast<int>(subjects.size()); ++i) {
    page.Paste(DrawCloseUp(subjects[i], frame, layers, calib, camera ? &*camera : nullptr, side),
               i % kCloseUpsAcross * 2 * side, camera_height + i / kCloseUpsAcross * side);
  }
  page.Paste(bev, 0, camera_height + rows * side);
  if (camera) {
    DrawBoxesInImage(layers, calib, *camera);
    page.Paste(*camera, 0, 0);
  }
  return page;
}

}  // namespace

absl::Status ShowFrame(const ShowOptions& options) {
  const std::string training = options.root + "/training/";
  KD_ASSIGN_OR_RETURN(const KittiCalib calib, ReadKittiCalib(options.root, options.sample));
  KD_ASSIGN_OR_RETURN(const ImageSize size, ReadKittiImageSize(options.root, options.sample));
  Frame frame;
  KD_ASSIGN_OR_RETURN(frame.points, ReadKittiPoints(absl::StrCat(training, "velodyne/", options.sample, ".bin")));
  KD_ASSIGN_OR_RETURN(std::vector<BoxLayer> layers,
                      LabelLayers(absl::StrCat(training, "label_2/", options.sample, ".txt"), calib));
  const auto add = [&](const std::string& folder, BoxLayer empty) -> absl::Status {
    if (folder.empty()) return absl::OkStatus();
    KD_ASSIGN_OR_RETURN(
        layers.emplace_back(),
        DetectionLayer(std::move(empty), absl::StrCat(folder, "/", options.sample, ".txt"), options.min_score, calib));
    return absl::OkStatus();
  };
  KD_RETURN_IF_ERROR(add(options.teacher, {.name = "teacher", .color = kTeacher, .line_width = kTeacherWidth}));
  KD_RETURN_IF_ERROR(add(options.student, {.name = "student", .color = kStudent, .line_width = kStudentWidth}));

  std::optional<Image> camera;
  const std::string image_path = absl::StrCat(training, "image_2/", options.sample, ".png");
  if (std::filesystem::exists(image_path)) {
    KD_ASSIGN_OR_RETURN(camera, Image::ReadPng(image_path));
  }
  return DrawPage(frame, layers, calib, size, std::move(camera)).WritePng(options.out);
}

}  // namespace kd
