#include "worker/evaluate.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "data/kitti_dataset.h"
#include "eval/center_distance.h"
#include "eval/kitti.h"

namespace kd {
namespace {

// Result lines of one frame; boxes whose projection misses the image cannot be scored by KITTI and are left out.
std::vector<KittiObject> ToKitti(const std::vector<Detection>& detections, const std::vector<std::string>& class_names,
                                 const KittiCalib& calib, const ImageSize& image) {
  std::vector<KittiObject> objects;
  for (const Detection& detection : detections) {
    KittiObject object = LidarToKitti(detection.box, class_names[detection.label], detection.score, calib, image);
    if (object.box2d[2] > object.box2d[0]) objects.push_back(std::move(object));
  }
  return objects;
}

void AddKittiMetrics(const KittiResult& result, std::map<std::string, double>& metrics) {
  const auto strict = result.find("strict");
  if (strict == result.end()) return;
  for (const auto& [name, by_metric] : strict->second) {
    for (const auto& [metric, by_difficulty] : by_metric) {
      for (const auto& [difficulty, curve] : by_difficulty) {
        metrics[absl::StrCat("kitti/", name, "/", metric, "/", difficulty, "/R40")] = curve.r40;
      }
    }
  }
}

}  // namespace

absl::StatusOr<Evaluation> Evaluate(DetectorModelImpl& model, const Dataset& dataset, const std::string& root,
                                    const std::vector<std::string>& samples, const std::string& detections_folder) {
  torch::NoGradGuard no_grad;
  const bool was_training = model.is_training();
  model.eval();
  if (!detections_folder.empty()) KD_RETURN_IF_ERROR(CreateFolders(detections_folder));
  std::vector<std::vector<Detection>> detections;
  std::vector<std::vector<LabeledBox>> truth;
  std::vector<KittiFrame> kitti;
  for (const std::string& sample : samples) {
    KD_ASSIGN_OR_RETURN(const Frame frame, dataset.Read(sample));
    const Batch batch = MakeBatch({&frame}, model.config(), /*training=*/false);
    detections.push_back(model.Decode(model.Forward(ToDevice(batch, model.device())))[0]);
    truth.push_back(frame.boxes);
    KD_ASSIGN_OR_RETURN(const KittiCalib calib, ReadKittiCalib(root, sample));
    KD_ASSIGN_OR_RETURN(const ImageSize image, ReadKittiImageSize(root, sample));
    KittiFrame& scored = kitti.emplace_back();
    scored.detections = ToKitti(detections.back(), dataset.class_names(), calib, image);
    const std::string label_path = absl::StrCat(root, "/training/label_2/", sample, ".txt");
    KD_ASSIGN_OR_RETURN(const std::string labels, ReadFile(label_path));
    KD_ASSIGN_OR_RETURN(scored.labels, ParseKittiObjects(labels, KittiText::kLabels, label_path));
    if (detections_folder.empty()) continue;
    std::string text;
    for (const KittiObject& object : scored.detections) absl::StrAppend(&text, FormatKittiObject(object, KittiText::kResults), "\n");
    KD_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(detections_folder, "/", sample, ".txt"), text));
  }
  if (was_training) model.train();

  Evaluation evaluation;
  const auto& names = dataset.class_names();
  const CenterDistanceResult distance = EvaluateCenterDistance(detections, truth, static_cast<int>(names.size()));
  evaluation.metrics["center_distance/mAP"] = distance.mean_ap;
  for (size_t c = 0; c < names.size(); ++c) {
    double sum = 0;
    for (const double ap : distance.ap[c]) sum += ap / static_cast<double>(distance.ap[c].size());
    if (!std::isnan(sum)) evaluation.metrics[absl::StrCat("center_distance/", names[c])] = sum;
  }
  AddKittiMetrics(EvaluateKitti(kitti), evaluation.metrics);
  return evaluation;
}

}  // namespace kd
