#include "client/show.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "data/kitti_dataset.h"
#include "eval/picture.h"

namespace kd {
namespace {

constexpr Color kTruth{60, 220, 60}, kTeacher{90, 150, 255}, kStudent{255, 150, 30};

absl::StatusOr<BoxLayer> ReadLayer(const std::string& path, KittiText kind, double min_score, const KittiCalib& calib, Color color) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  KD_ASSIGN_OR_RETURN(const std::vector<KittiObject> objects, ParseKittiObjects(text, kind, path));
  BoxLayer layer{.color = color};
  for (const KittiObject& object : objects) {
    if (object.type == "DontCare" || (kind == KittiText::kResults && object.score < min_score)) continue;
    layer.boxes.push_back(KittiToLidar(object, calib));
  }
  return layer;
}

}  // namespace

absl::Status ShowFrame(const ShowOptions& options) {
  const std::string training = options.root + "/training/";
  KD_ASSIGN_OR_RETURN(const KittiCalib calib, ReadKittiCalib(options.root, options.sample));
  Frame frame;
  KD_ASSIGN_OR_RETURN(frame.points, ReadKittiPoints(absl::StrCat(training, "velodyne/", options.sample, ".bin")));
  std::vector<BoxLayer> layers;
  const auto add = [&](const std::string& path, KittiText kind, Color color) -> absl::Status {
    KD_ASSIGN_OR_RETURN(layers.emplace_back(), ReadLayer(path, kind, options.min_score, calib, color));
    return absl::OkStatus();
  };
  KD_RETURN_IF_ERROR(add(absl::StrCat(training, "label_2/", options.sample, ".txt"), KittiText::kLabels, kTruth));
  if (!options.teacher.empty()) KD_RETURN_IF_ERROR(add(absl::StrCat(options.teacher, "/", options.sample, ".txt"), KittiText::kResults, kTeacher));
  if (!options.student.empty()) KD_RETURN_IF_ERROR(add(absl::StrCat(options.student, "/", options.sample, ".txt"), KittiText::kResults, kStudent));

  const Image bev = DrawBev(frame, layers, {});
  const std::string image_path = absl::StrCat(training, "image_2/", options.sample, ".png");
  if (!std::filesystem::exists(image_path)) return bev.WritePng(options.out);
  KD_ASSIGN_OR_RETURN(Image camera, Image::ReadPng(image_path));
  DrawBoxesInImage(layers, calib, camera);
  Image page(std::max(bev.width(), camera.width()), bev.height() + camera.height());
  page.Paste(bev, (page.width() - bev.width()) / 2, 0);
  page.Paste(camera, (page.width() - camera.width()) / 2, bev.height());
  return page.WritePng(options.out);
}

}  // namespace kd
