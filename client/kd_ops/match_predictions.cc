#include "client/kd_ops/match_predictions.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/match.h"

namespace kd {
namespace {

struct Frame {
  torch::Tensor boxes;   // N x 7 or 9
  torch::Tensor scores;  // N
  torch::Tensor labels;  // N
};

// Which row of `got` each row of `want` gets.
std::vector<int64_t> RowsInOrder(const Frame& got, const Frame& want, double rtol, double atol) {
  const torch::Tensor limit = atol + rtol * want.scores.abs();
  const torch::Tensor fits =
      ((want.scores.unsqueeze(1) - got.scores).abs() <= limit.unsqueeze(1)) & (want.labels.unsqueeze(1) == got.labels);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const torch::Tensor distance = torch::cdist(want.boxes.to(torch::kFloat64), got.boxes.to(torch::kFloat64))
                                     .masked_fill(torch::logical_not(fits), kNever);
  const int64_t rows = distance.size(0);
  std::vector<int64_t> order(rows, -1);
  std::vector<bool> taken(rows, false);
  for (int64_t i = 0; i < rows; ++i) {
    const auto [nearest, row] = distance[i].min(0);
    if (nearest.item<double>() == kNever) continue;
    order[i] = row.item<int64_t>();
    taken[order[i]] = true;
    distance.select(1, order[i]).fill_(kNever);
  }
  int64_t left = 0;
  for (int64_t& row : order) {
    if (row >= 0) continue;
    while (taken[left]) ++left;
    row = left++;
  }
  return order;
}

}  // namespace

TensorMap MatchPredictions(TensorMap got, const TensorMap& want, double rtol, double atol) {
  constexpr absl::string_view kScores = "pred_scores";
  for (const auto& [name, ignored] : want) {
    if (!absl::EndsWith(name, kScores)) continue;
    const std::string frame = name.substr(0, name.size() - kScores.size());
    const std::string names[] = {frame + "pred_boxes", name, frame + "pred_labels"};
    const bool comparable = std::all_of(std::begin(names), std::end(names), [&](const std::string& part) {
      const auto own = got.find(part);
      const auto other = want.find(part);
      return own != got.end() && other != want.end() && own->second.defined() &&
             own->second.sizes() == other->second.sizes() && own->second.numel() > 0;
    });
    if (!comparable) continue;
    const auto frame_of = [&](const TensorMap& map) {
      return Frame{.boxes = map.at(names[0]), .scores = map.at(names[1]), .labels = map.at(names[2])};
    };
    const torch::Tensor order = torch::tensor(RowsInOrder(frame_of(got), frame_of(want), rtol, atol), torch::kInt64);
    for (const std::string& part : names) got[part] = got[part].index_select(0, order);
  }
  return got;
}

}  // namespace kd
