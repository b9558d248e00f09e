// Runs a detector over a split and scores it.
#ifndef KD_WORKER_EVALUATE_H_
#define KD_WORKER_EVALUATE_H_

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/dataset.h"
#include "models/detector.h"

namespace kd {

struct Evaluation {
  // Percent, by the names of Scorer::Finish().
  std::map<std::string, double> metrics;
};

// Frames of the data set `data` as recorded (view 0), one at a time. With a folder, writes result files into it, as
// NewScorer() says. Calls `on_frame`, if it is one, after each of them.
absl::StatusOr<Evaluation> Evaluate(DetectorModelImpl& model, const Dataset& dataset, const v1::Data& data,
                                    const std::vector<std::string>& samples, const std::string& detections_folder,
                                    const std::function<void()>& on_frame = nullptr);

}  // namespace kd

#endif  // KD_WORKER_EVALUATE_H_
