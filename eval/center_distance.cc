#include "eval/center_distance.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kd {
namespace {

struct Scored {
  size_t frame;
  const Detection* detection;
};

// True positives along the sorted detections.
std::vector<bool> Match(const std::vector<Scored>& sorted, const std::vector<std::vector<LabeledBox>>& ground_truth,
                        int label, double distance) {
  std::vector<std::vector<bool>> taken(ground_truth.size());
  for (size_t f = 0; f < ground_truth.size(); ++f) taken[f].resize(ground_truth[f].size());
  std::vector<bool> positive;
  for (const Scored& entry : sorted) {
    const std::vector<LabeledBox>& truth = ground_truth[entry.frame];
    double nearest = distance;
    size_t best = truth.size();
    for (size_t i = 0; i < truth.size(); ++i) {
      if (truth[i].label != label || taken[entry.frame][i]) continue;
      const double d = std::hypot(static_cast<double>(truth[i].box.x) - entry.detection->box.x,
                                  static_cast<double>(truth[i].box.y) - entry.detection->box.y);
      if (d < nearest) {
        nearest = d;
        best = i;
      }
    }
    positive.push_back(best < truth.size());
    if (positive.back()) taken[entry.frame][best] = true;
  }
  return positive;
}

double AveragePrecision(const std::vector<bool>& positive, size_t num_truth) {
  std::vector<double> precision, recall;
  size_t hits = 0;
  for (size_t i = 0; i < positive.size(); ++i) {
    hits += positive[i];
    precision.push_back(static_cast<double>(hits) / static_cast<double>(i + 1));
    recall.push_back(static_cast<double>(hits) / static_cast<double>(num_truth));
  }
  for (size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
  double sum = 0;
  size_t at = 0;
  for (int step = 0; step <= 100; ++step) {
    while (at < recall.size() && recall[at] < step / 100.0 - 1e-12) ++at;
    if (at < recall.size()) sum += precision[at];
  }
  return 100 * sum / 101;
}

}  // namespace

CenterDistanceResult EvaluateCenterDistance(const std::vector<std::vector<Detection>>& detections,
                                            const std::vector<std::vector<LabeledBox>>& ground_truth, int num_classes) {
  CenterDistanceResult result;
  double sum = 0;
  int cells = 0;
  for (int label = 0; label < num_classes; ++label) {
    std::vector<Scored> sorted;
    size_t num_truth = 0;
    for (size_t f = 0; f < ground_truth.size(); ++f) {
      num_truth += static_cast<size_t>(std::count_if(ground_truth[f].begin(), ground_truth[f].end(),
                                                     [&](const LabeledBox& box) { return box.label == label; }));
      for (const Detection& detection : detections[f]) {
        if (detection.label == label) sorted.push_back({f, &detection});
      }
    }
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Scored& a, const Scored& b) { return a.detection->score > b.detection->score; });
    std::vector<double>& row = result.ap.emplace_back();
    for (const double distance : kCenterDistances) {
      if (num_truth == 0) {
        row.push_back(std::numeric_limits<double>::quiet_NaN());
        continue;
      }
      row.push_back(AveragePrecision(Match(sorted, ground_truth, label, distance), num_truth));
      sum += row.back();
      ++cells;
    }
  }
  result.mean_ap = cells > 0 ? sum / cells : 0;
  return result;
}

}  // namespace kd
