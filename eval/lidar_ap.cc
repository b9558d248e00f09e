#include "eval/lidar_ap.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <limits>

#include "ops/rotated_iou.h"

namespace kd {
namespace {

constexpr int kRecalls = 40;
constexpr size_t kBins = kLidarRanges.size();

// Counted from 0; kLidarRangeNames has "all" before.
size_t BinOf(const Box3d& box) {
  const double distance = std::hypot(box.x, box.y);
  size_t bin = kBins - 1;
  while (bin > 0 && distance < kLidarRanges[bin]) --bin;
  return bin;
}

using IouFunction = double (*)(const float*, const float*);

double Overlap(IouFunction iou, const Box3d& a, const Box3d& b) {
  // Boxes whose circles do not meet need no clipping.
  const double reach = (std::hypot(a.dx, a.dy) + std::hypot(b.dx, b.dy)) / 2;
  if (std::hypot(a.x - b.x, a.y - b.y) > reach) return 0;
  const float left[] = {a.x, a.y, a.z, a.dx, a.dy, a.dz, a.yaw}, right[] = {b.x, b.y, b.z, b.dx, b.dy, b.dz, b.yaw};
  return iou(left, right);
}

struct Judged {
  float score;
  size_t bin;
  bool is_match;
};

// Judges the detections of one class in one frame, appending them to `judged`.
void JudgeFrame(const std::vector<Detection>& detections, const std::vector<LabeledBox>& truth, int32_t label,
                IouFunction iou, double least, std::vector<Judged>& judged) {
  std::vector<size_t> order;
  for (size_t i = 0; i < detections.size(); ++i) {
    if (detections[i].label == label) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return detections[a].score > detections[b].score; });
  std::vector<bool> taken(truth.size());
  for (const size_t i : order) {
    const Detection& detection = detections[i];
    size_t best = truth.size();
    double most = 0;
    for (size_t t = 0; t < truth.size(); ++t) {
      if (taken[t] || truth[t].label != label) continue;
      const double overlap = Overlap(iou, detection.box, truth[t].box);
      if (overlap < least || overlap <= most) continue;
      most = overlap;
      best = t;
    }
    const bool is_match = best < truth.size();
    if (is_match) taken[best] = true;
    judged.push_back({detection.score, BinOf(is_match ? truth[best].box : detection.box), is_match});
  }
}

// `judged` by descending score, those of one bin.
double AveragePrecision(const std::vector<Judged>& judged, size_t positives) {
  if (positives == 0) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> precision(judged.size()), recall(judged.size());
  size_t matches = 0;
  for (size_t i = 0; i < judged.size(); ++i) {
    matches += judged[i].is_match;
    precision[i] = static_cast<double>(matches) / static_cast<double>(i + 1);
    recall[i] = static_cast<double>(matches) / static_cast<double>(positives);
  }
  for (size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
  double sum = 0;
  for (int step = 1; step <= kRecalls; ++step) {
    const auto reached = std::lower_bound(recall.begin(), recall.end(), static_cast<double>(step) / kRecalls - 1e-9);
    if (reached != recall.end()) sum += precision[reached - recall.begin()];
  }
  return 100 * sum / kRecalls;
}

}  // namespace

std::vector<LidarClassScores> EvaluateLidarAp(const std::vector<std::vector<Detection>>& detections,
                                              const std::vector<std::vector<LabeledBox>>& ground_truth,
                                              int num_classes) {
  std::vector<LidarClassScores> scores(num_classes);
  for (int32_t label = 0; label < num_classes; ++label) {
    std::array<size_t, kLidarRangeNames.size()> positives{};
    for (const std::vector<LabeledBox>& truth : ground_truth) {
      for (const LabeledBox& box : truth) {
        if (box.label != label) continue;
        ++positives[0];
        ++positives[1 + BinOf(box.box)];
      }
    }
    for (const bool is_3d : {false, true}) {
      for (size_t o = 0; o < kLidarOverlaps.size(); ++o) {
        std::vector<Judged> judged;
        for (size_t f = 0; f < detections.size(); ++f) {
          JudgeFrame(detections[f], ground_truth[f], label, is_3d ? Iou3d : BevIou, kLidarOverlaps[o], judged);
        }
        std::stable_sort(judged.begin(), judged.end(),
                         [](const Judged& a, const Judged& b) { return a.score > b.score; });
        LidarPrecision& precision = is_3d ? scores[label].box3d : scores[label].bev;
        precision[0][o] = AveragePrecision(judged, positives[0]);
        for (size_t bin = 0; bin < kBins; ++bin) {
          std::vector<Judged> own;
          std::copy_if(judged.begin(), judged.end(), std::back_inserter(own),
                       [&](const Judged& j) { return j.bin == bin; });
          precision[1 + bin][o] = AveragePrecision(own, positives[1 + bin]);
        }
      }
    }
  }
  return scores;
}

}  // namespace kd
