#include "eval/scorer.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "data/kitti_dataset.h"
#include "data/nuscenes_dataset.h"
#include "data/waymo_dataset.h"
#include "eval/center_distance.h"
#include "eval/kitti.h"
#include "eval/lidar_ap.h"
#include "eval/nuscenes.h"
#include "eval/nuscenes_boxes.h"
#include "eval/waymo.h"

namespace kd {
namespace {

class CenterDistanceScorer : public Scorer {
 public:
  explicit CenterDistanceScorer(const v1::Data& data)
      : class_names_(data.class_names().begin(), data.class_names().end()) {}

  absl::Status Add(const Frame& frame, const std::vector<Detection>& detections) override {
    detections_.push_back(detections);
    truth_.push_back(frame.boxes);
    return absl::OkStatus();
  }

  absl::StatusOr<std::map<std::string, double>> Finish() override { return CenterDistances(); }

 protected:
  std::map<std::string, double> CenterDistances() const {
    const CenterDistanceResult result =
        EvaluateCenterDistance(detections_, truth_, static_cast<int>(class_names_.size()));
    std::map<std::string, double> metrics = {{"center_distance/mAP", result.mean_ap}};
    for (size_t c = 0; c < class_names_.size(); ++c) {
      double sum = 0;
      for (const double ap : result.ap[c]) sum += ap / static_cast<double>(result.ap[c].size());
      if (!std::isnan(sum)) metrics[absl::StrCat("center_distance/", class_names_[c])] = sum;
    }
    return metrics;
  }

  const std::vector<std::string> class_names_;
  std::vector<std::vector<Detection>> detections_;
  std::vector<std::vector<LabeledBox>> truth_;
};

class KittiScorer : public CenterDistanceScorer {
 public:
  KittiScorer(const v1::Data& data, std::string detections_folder)
      : CenterDistanceScorer(data), root_(data.root()), detections_folder_(std::move(detections_folder)) {}

  absl::Status Add(const Frame& frame, const std::vector<Detection>& detections) override {
    KD_RETURN_IF_ERROR(CenterDistanceScorer::Add(frame, detections));
    KD_ASSIGN_OR_RETURN(const KittiCalib calib, ReadKittiCalib(root_, frame.sample));
    KD_ASSIGN_OR_RETURN(const ImageSize image, ReadKittiImageSize(root_, frame.sample));
    KittiFrame& scored = frames_.emplace_back();
    for (const Detection& detection : detections) {
      KittiObject object = LidarToKitti(detection.box, class_names_[detection.label], detection.score, calib, image);
      // Boxes whose projection misses the image cannot be scored by KITTI.
      if (object.box2d[2] > object.box2d[0]) scored.detections.push_back(std::move(object));
    }
    const std::string label_path = absl::StrCat(root_, "/training/label_2/", frame.sample, ".txt");
    KD_ASSIGN_OR_RETURN(const std::string labels, ReadFile(label_path));
    KD_ASSIGN_OR_RETURN(scored.labels, ParseKittiObjects(labels, KittiText::kLabels, label_path));
    if (detections_folder_.empty()) return absl::OkStatus();
    std::string text;
    for (const KittiObject& object : scored.detections)
      absl::StrAppend(&text, FormatKittiObject(object, KittiText::kResults), "\n");
    return WriteFileAtomically(absl::StrCat(detections_folder_, "/", frame.sample, ".txt"), text);
  }

  absl::StatusOr<std::map<std::string, double>> Finish() override {
    std::map<std::string, double> metrics = CenterDistances();
    const KittiResult result = EvaluateKitti(frames_);
    const auto strict = result.find("strict");
    if (strict == result.end()) return metrics;
    for (const auto& [name, by_metric] : strict->second) {
      for (const auto& [metric, by_difficulty] : by_metric) {
        for (const auto& [difficulty, curve] : by_difficulty) {
          metrics[absl::StrCat("kitti/", name, "/", metric, "/", difficulty, "/R40")] = curve.r40;
        }
      }
    }
    return metrics;
  }

 private:
  const std::string root_, detections_folder_;
  std::vector<KittiFrame> frames_;
};

class WaymoScorer : public CenterDistanceScorer {
 public:
  WaymoScorer(const v1::Data& data, const Dataset& dataset, std::string detections_folder)
      : CenterDistanceScorer(data), dataset_(dataset), detections_folder_(std::move(detections_folder)) {}

  absl::Status Add(const Frame& frame, const std::vector<Detection>& detections) override {
    KD_RETURN_IF_ERROR(CenterDistanceScorer::Add(frame, detections));
    WaymoEvalFrame& scored = frames_.emplace_back();
    for (const LabeledBox& box : frame.boxes) {
      WaymoEvalObject object = Object(box.box, box.label);
      object.num_points = box.num_points;
      object.difficulty = box.difficulty;
      scored.ground_truths.push_back(object);
    }
    for (const Detection& detection : detections) {
      WaymoEvalObject object = Object(detection.box, detection.label);
      object.score = detection.score;
      scored.detections.push_back(object);
    }
    if (detections_folder_.empty()) return absl::OkStatus();
    KD_ASSIGN_OR_RETURN(const WaymoFrameId id, ReadWaymoFrameId(dataset_, frame.sample));
    objects_ += WaymoObjects(id, scored.detections);
    return absl::OkStatus();
  }

  absl::StatusOr<std::map<std::string, double>> Finish() override {
    if (!detections_folder_.empty()) {
      KD_RETURN_IF_ERROR(WriteFileAtomically(detections_folder_ + "/detections.bin", objects_));
    }
    std::map<std::string, double> metrics = CenterDistances();
    for (const WaymoScore& score : EvaluateWaymo(frames_, {.breakdowns = {WaymoBreakdown::kObjectType}})) {
      for (const std::string& name : class_names_) {
        if (score.name != absl::StrCat("OBJECT_TYPE_TYPE_", absl::AsciiStrToUpper(name), "_LEVEL_", score.level))
          continue;
        metrics[absl::StrCat("waymo/", name, "/L", score.level, "/AP")] = 100.0 * score.ap;
        metrics[absl::StrCat("waymo/", name, "/L", score.level, "/APH")] = 100.0 * score.aph;
        metrics[absl::StrCat("waymo/mAP/L", score.level)] +=
            100.0 * score.ap / static_cast<double>(class_names_.size());
        metrics[absl::StrCat("waymo/mAPH/L", score.level)] +=
            100.0 * score.aph / static_cast<double>(class_names_.size());
      }
    }
    return metrics;
  }

 private:
  WaymoEvalObject Object(const Box3d& box, int32_t label) const {
    WaymoEvalObject object{
        .x = box.x, .y = box.y, .z = box.z, .length = box.dx, .width = box.dy, .height = box.dz, .heading = box.yaw};
    for (const int type : {kWaymoVehicle, kWaymoPedestrian, kWaymoSign, kWaymoCyclist}) {
      if (WaymoTypeName(type) == class_names_[label]) object.type = type;
    }
    return object;
  }

  const Dataset& dataset_;
  const std::string detections_folder_;
  std::vector<WaymoEvalFrame> frames_;
  // The result file so far.
  std::string objects_;
};

class NuscenesScorer : public CenterDistanceScorer {
 public:
  NuscenesScorer(const v1::Data& data, const NuscenesTables& tables, std::string detections_folder)
      : CenterDistanceScorer(data), tables_(tables), detections_folder_(std::move(detections_folder)) {}

  absl::Status Add(const Frame& frame, const std::vector<Detection>& detections) override {
    KD_RETURN_IF_ERROR(CenterDistanceScorer::Add(frame, detections));
    KD_ASSIGN_OR_RETURN(samples_.emplace_back(), ToNuscenesDetections(tables_, frame.sample, class_names_, detections));
    return absl::OkStatus();
  }

  absl::StatusOr<std::map<std::string, double>> Finish() override {
    if (!detections_folder_.empty()) {
      KD_RETURN_IF_ERROR(WriteNuscenesSubmission(detections_folder_ + "/submission.json", tables_, samples_));
    }
    if (tables_.annotations().empty()) return std::map<std::string, double>();
    KD_ASSIGN_OR_RETURN(const NuscenesScores scores, EvaluateNuscenes(tables_, samples_));
    std::map<std::string, double> metrics = CenterDistances();
    metrics["nuscenes/NDS"] = 100 * scores.nds;
    metrics["nuscenes/mAP"] = 100 * scores.mean_ap;
    for (size_t e = 0; e < kNuscenesErrors.size(); ++e) {
      if (!std::isnan(scores.errors[e])) metrics[absl::StrCat("nuscenes/", kNuscenesErrors[e])] = scores.errors[e];
    }
    for (const std::string& name : class_names_) {
      metrics[absl::StrCat("nuscenes/", name, "/AP")] = 100 * scores.classes[NuscenesClassIndex(name)].mean_ap;
    }
    return metrics;
  }

 private:
  const NuscenesTables& tables_;
  const std::string detections_folder_;
  std::vector<NuscenesDetections> samples_;
};

class CustomScorer : public CenterDistanceScorer {
 public:
  using CenterDistanceScorer::CenterDistanceScorer;

  absl::StatusOr<std::map<std::string, double>> Finish() override {
    std::map<std::string, double> metrics = CenterDistances();
    const int num_classes = static_cast<int>(class_names_.size());
    const std::vector<LidarClassScores> scores = EvaluateLidarAp(detections_, truth_, num_classes);
    double sum = 0;
    int present = 0;
    for (int c = 0; c < num_classes; ++c) {
      for (size_t bin = 0; bin < kLidarRangeNames.size(); ++bin) {
        for (size_t o = 0; o < kLidarOverlaps.size(); ++o) {
          const std::string place = absl::StrCat("@", kLidarOverlaps[o], "/", kLidarRangeNames[bin]);
          if (std::isnan(scores[c].box3d[bin][o])) continue;
          metrics[absl::StrCat("lidar/", class_names_[c], "/3d", place)] = scores[c].box3d[bin][o];
          metrics[absl::StrCat("lidar/", class_names_[c], "/bev", place)] = scores[c].bev[bin][o];
        }
      }
      if (std::isnan(scores[c].box3d[0][0])) continue;
      sum += scores[c].box3d[0][0];
      ++present;
    }
    if (present > 0) metrics["lidar/mAP"] = sum / present;
    return metrics;
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Scorer>> NewScorer(const v1::Data& data, const Dataset& dataset,
                                                  const std::string& detections_folder) {
  const auto* const nuscenes = dynamic_cast<const NuscenesDataset*>(&dataset);
  if (!detections_folder.empty()) {
    if (data.format() != "kitti" && data.format() != "waymo" && nuscenes == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("format ", data.format(), " has no result files; evaluate without --detections-out"));
    }
    KD_RETURN_IF_ERROR(CreateFolders(detections_folder));
  }
  if (nuscenes != nullptr && nuscenes->tables().annotations().empty() && detections_folder.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(nuscenes->tables().root(), "/", nuscenes->tables().version(),
                     " has no annotations to score against; write a submission with --detections-out"));
  }
  if (data.format() == "kitti") return std::make_unique<KittiScorer>(data, detections_folder);
  if (data.format() == "waymo") return std::make_unique<WaymoScorer>(data, dataset, detections_folder);
  if (nuscenes != nullptr) return std::make_unique<NuscenesScorer>(data, nuscenes->tables(), detections_folder);
  return std::make_unique<CustomScorer>(data);
}

}  // namespace kd
