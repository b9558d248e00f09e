#include "client/show.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/file.h"
#include "base/status.h"
#include "data/kitti_dataset.h"
#include "data/nuscenes_dataset.h"
#include "data/waymo_dataset.h"
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
// Without a camera that looks ahead: a square around the sensor.
constexpr double kFarthest = 75, kAround = 1500;  // metres, pixels
constexpr int kCameraWidth = 640;                 // pixels of each of Waymo's and nuScenes's images
constexpr char kWaymoNote[] = "BOXES WITHOUT LENS DISTORTION AND ROLLING SHUTTER";

struct CameraView {
  std::string name;
  KittiCalib calib;
  Image image;
};

// What a page is made of.
struct Scene {
  Frame frame;
  std::vector<BoxLayer> layers;
  // Side by side, in rows.
  std::vector<std::vector<CameraView>> cameras;
  BevOptions area;
  // Above the images.
  std::string note;
};

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

// The first camera that sees the box.
const CameraView* CameraOf(const Box3d& box, const std::vector<std::vector<CameraView>>& rows) {
  for (const std::vector<CameraView>& row : rows) {
    for (const CameraView& camera : row) {
      const ImageSize size{.width = camera.image.width(), .height = camera.image.height()};
      if (!ProjectBox(box, camera.calib, size).empty()) return &camera;
    }
  }
  return nullptr;
}

Image DrawPage(Scene scene) {
  Image bev = DrawBev(scene.frame, scene.layers, scene.area);
  DrawLegend(scene.layers, bev);
  const std::vector<Box3d> subjects = Subjects(scene.layers);
  const int side = bev.width() / (2 * kCloseUpsAcross);
  const int rows = (static_cast<int>(subjects.size()) + kCloseUpsAcross - 1) / kCloseUpsAcross;
  int width = bev.width(), cameras_height = 0;
  for (const std::vector<CameraView>& row : scene.cameras) {
    int row_width = 0, row_height = 0;
    for (const CameraView& camera : row) {
      row_width += camera.image.width();
      row_height = std::max(row_height, camera.image.height());
    }
    width = std::max(width, row_width);
    cameras_height += row_height;
  }
  Image page(width, cameras_height + rows * side + bev.height());
  for (int i = 0; i < static_cast<int>(subjects.size()); ++i) {
    const CameraView* camera = CameraOf(subjects[i], scene.cameras);
    page.Paste(DrawCloseUp(subjects[i], scene.frame, scene.layers, camera == nullptr ? KittiCalib{} : camera->calib,
                           camera == nullptr ? nullptr : &camera->image, side),
               i % kCloseUpsAcross * 2 * side, cameras_height + i / kCloseUpsAcross * side);
  }
  page.Paste(bev, 0, cameras_height + rows * side);
  int top = 0;
  for (std::vector<CameraView>& row : scene.cameras) {
    int left = 0, row_height = 0;
    for (CameraView& camera : row) {
      DrawBoxesInImage(scene.layers, camera.calib, camera.image);
      page.Paste(camera.image, left, top);
      left += camera.image.width();
      row_height = std::max(row_height, camera.image.height());
    }
    top += row_height;
  }
  if (!scene.note.empty()) {
    page.Shade(0, 0, TextWidth(scene.note) + 12, kTextHeight + 10);
    page.Text(6, 5, scene.note, {230, 230, 230});
  }
  return page;
}

absl::StatusOr<Scene> LoadKitti(const ShowOptions& options) {
  const std::string training = options.root + "/training/";
  KD_ASSIGN_OR_RETURN(const KittiCalib calib, ReadKittiCalib(options.root, options.sample));
  KD_ASSIGN_OR_RETURN(const ImageSize size, ReadKittiImageSize(options.root, options.sample));
  Scene scene;
  KD_ASSIGN_OR_RETURN(scene.frame.points, ReadKittiPoints(absl::StrCat(training, "velodyne/", options.sample, ".bin")));
  KD_ASSIGN_OR_RETURN(scene.layers, LabelLayers(absl::StrCat(training, "label_2/", options.sample, ".txt"), calib));
  const auto add = [&](const std::string& folder, BoxLayer empty) -> absl::Status {
    if (folder.empty()) return absl::OkStatus();
    KD_ASSIGN_OR_RETURN(
        scene.layers.emplace_back(),
        DetectionLayer(std::move(empty), absl::StrCat(folder, "/", options.sample, ".txt"), options.min_score, calib));
    return absl::OkStatus();
  };
  KD_RETURN_IF_ERROR(add(options.teacher, {.name = "teacher", .color = kTeacher, .line_width = kTeacherWidth}));
  KD_RETURN_IF_ERROR(add(options.student, {.name = "student", .color = kStudent, .line_width = kStudentWidth}));
  const std::string image_path = absl::StrCat(training, "image_2/", options.sample, ".png");
  if (std::error_code unknown; std::filesystem::exists(image_path, unknown)) {
    KD_ASSIGN_OR_RETURN(Image image, Image::ReadPng(image_path));
    scene.cameras.emplace_back().push_back({.name = "image_2", .calib = calib, .image = std::move(image)});
  }
  scene.area = {.x_min = 0,
                .x_max = kMetresAhead,
                .y_min = -kMetresAcross / 2,
                .y_max = kMetresAcross / 2,
                .pixels_per_metre = std::clamp(size.width, kNarrowest, kWidest) / kMetresAcross};
  return scene;
}

// Waymo's camera looks along x with y to the left; an optical one along z with x to the right.
KittiCalib CalibOf(const WaymoCamera& camera) {
  KittiCalib calib{};
  const auto& [fu, fv, cu, cv, k1, k2, p1, p2, k3] = camera.intrinsic;
  calib.p2 = {fu, 0, cu, 0, 0, fv, cv, 0, 0, 0, 1, 0};
  calib.r0_rect = {1, 0, 0, 0, 1, 0, 0, 0, 1};
  const WaymoTransform& m = camera.extrinsic;
  // Rows of the inverse: the camera's axes in the vehicle frame, and its place along them.
  const auto row = [&](int axis, double sign, int to) {
    double place = 0;
    for (int i = 0; i < 3; ++i) {
      calib.tr_velo_to_cam[4 * to + i] = sign * m[4 * i + axis];
      place += m[4 * i + axis] * m[4 * i + 3];
    }
    calib.tr_velo_to_cam[4 * to + 3] = -sign * place;
  };
  row(1, -1, 0);
  row(2, -1, 1);
  row(0, 1, 2);
  return calib;
}

// The same camera with an image of `width` pixels.
CameraView Shrink(const CameraView& camera, int width) {
  const double scale = static_cast<double>(width) / camera.image.width();
  CameraView small{.name = camera.name,
                   .calib = camera.calib,
                   .image = camera.image.Crop(0, 0, scale, width, static_cast<int>(camera.image.height() * scale))};
  for (int i = 0; i < 8; ++i) small.calib.p2[i] *= scale;
  return small;
}

absl::Status AddWaymoCameras(const ShowOptions& options, Scene& scene) {
  KD_ASSIGN_OR_RETURN(const WaymoFrame waymo, ReadWaymoFrame(options.root, options.sample));
  const std::vector<std::vector<int>> rows = {{2, 1, 3}, {4, 5}};
  for (const std::vector<int>& row : rows) {
    std::vector<CameraView> views;
    for (const int number : row) {
      const auto same = [&](const auto& of) { return of.camera == number; };
      const auto camera = std::find_if(waymo.cameras.begin(), waymo.cameras.end(), same);
      const auto image = std::find_if(waymo.images.begin(), waymo.images.end(), same);
      if (camera == waymo.cameras.end() || image == waymo.images.end()) continue;
      const std::string name = absl::StrCat("camera ", number);
      KD_ASSIGN_OR_RETURN(Image pixels, Image::DecodeJpeg(image->jpeg, absl::StrCat(options.sample, ": ", name)));
      views.push_back(Shrink({.name = name, .calib = CalibOf(*camera), .image = std::move(pixels)}, kCameraWidth));
    }
    if (!views.empty()) scene.cameras.push_back(std::move(views));
  }
  if (!scene.cameras.empty()) scene.note = kWaymoNote;
  return absl::OkStatus();
}

// nuScenes's LiDAR looks along y, with x to the right; pictures have what is ahead on top, which is x.
RigidTransform AheadToNuscenesLidar() { return {.rotation = RotationOfAngles(0, 0, M_PI / 2)}; }

void TurnAhead(Frame& frame) {
  for (size_t i = 0; i < frame.points.size(); i += frame.num_features) {
    frame.points[i + 1] = -std::exchange(frame.points[i], frame.points[i + 1]);
  }
  for (LabeledBox& labeled : frame.boxes) {
    labeled.box.y = -std::exchange(labeled.box.x, labeled.box.y);
    labeled.box.yaw -= static_cast<float>(M_PI / 2);
  }
}

absl::Status AddNuscenesCameras(const NuscenesDataset& dataset, const std::string& sample, Scene& scene) {
  KD_ASSIGN_OR_RETURN(const std::vector<NuscenesCamera> cameras, dataset.Cameras(sample));
  // The left of the vehicle is left in both rows.
  const std::vector<std::vector<std::string>> rows = {{"CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"},
                                                      {"CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT"}};
  for (const std::vector<std::string>& row : rows) {
    std::vector<CameraView>& views = scene.cameras.emplace_back();
    for (const std::string& channel : row) {
      const auto camera =
          std::find_if(cameras.begin(), cameras.end(), [&](const NuscenesCamera& of) { return of.channel == channel; });
      const auto& k = camera->intrinsic;
      const RigidTransform place = camera->lidar_to_camera * AheadToNuscenesLidar();
      KittiCalib calib{};
      calib.p2 = {k[0], k[1], k[2], 0, k[3], k[4], k[5], 0, k[6], k[7], k[8], 0};
      calib.r0_rect = {1, 0, 0, 0, 1, 0, 0, 0, 1};
      for (int i = 0; i < 3; ++i) {
        for (int j = 0; j < 3; ++j) calib.tr_velo_to_cam[4 * i + j] = place.rotation[3 * i + j];
        calib.tr_velo_to_cam[4 * i + 3] = place.translation[i];
      }
      KD_ASSIGN_OR_RETURN(const std::string jpeg, ReadFile(camera->path));
      KD_ASSIGN_OR_RETURN(Image pixels, Image::DecodeJpeg(jpeg, camera->path));
      views.push_back(Shrink({.name = channel, .calib = calib, .image = std::move(pixels)}, kCameraWidth));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Scene> LoadFrame(const ShowOptions& options) {
  Scene scene;
  KD_ASSIGN_OR_RETURN(scene.frame, options.dataset->Read(options.sample));
  // The one data set whose frames do not look along x.
  const auto* const nuscenes = dynamic_cast<const NuscenesDataset*>(options.dataset);
  if (nuscenes != nullptr) TurnAhead(scene.frame);
  BoxLayer labels{.name = "labels", .color = kTruth, .line_width = kTruthWidth / 2};
  double reach = 10;
  for (const LabeledBox& labeled : scene.frame.boxes) {
    labels.boxes.push_back({labeled.box, options.dataset->class_names()[labeled.label]});
    reach = std::max<double>({reach, std::abs(labeled.box.x) + 5, std::abs(labeled.box.y) + 5});
  }
  for (size_t i = 0; i < scene.frame.num_points(); ++i) {
    const float* p = &scene.frame.points[i * scene.frame.num_features];
    reach = std::max<double>({reach, std::abs(p[0]), std::abs(p[1])});
  }
  reach = std::min(reach, kFarthest);
  scene.layers.push_back(std::move(labels));
  scene.area = {
      .x_min = -reach, .x_max = reach, .y_min = -reach, .y_max = reach, .pixels_per_metre = kAround / (2 * reach)};
  if (options.format == "waymo") KD_RETURN_IF_ERROR(AddWaymoCameras(options, scene));
  if (nuscenes != nullptr) KD_RETURN_IF_ERROR(AddNuscenesCameras(*nuscenes, options.sample, scene));
  return scene;
}

}  // namespace

absl::Status ShowFrame(const ShowOptions& options) {
  KD_ASSIGN_OR_RETURN(Scene scene, options.format == "kitti" ? LoadKitti(options) : LoadFrame(options));
  return DrawPage(std::move(scene)).WritePng(options.out);
}

}  // namespace kd
