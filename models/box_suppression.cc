#include "models/box_suppression.h"

#include <algorithm>
#include <vector>

#include "ops/nms.h"
#include "torch/torch.h"

namespace kd {

using torch::Tensor;

Tensor BestRows(const Tensor& scores, int64_t most) { return std::get<1>(scores.topk(std::min(most, scores.size(0)))); }

Tensor RowsAfterNms(const Tensor& boxes, const Tensor& scores, const NmsOptions& options) {
  const Tensor rows = boxes.slice(1, 0, 7).contiguous();
  const Tensor order = std::get<1>(scores.sort(0, /*descending=*/true));
  const int64_t* const first = order.data_ptr<int64_t>();
  return torch::tensor(RotatedNms(rows.data_ptr<float>(), std::vector<int64_t>(first, first + order.numel()),
                                  options.iou_threshold, static_cast<size_t>(options.post_max)),
                       torch::kInt64);
}

Tensor SuppressBoxes(const Tensor& boxes, const Tensor& scores, const NmsOptions& options) {
  const Tensor best = BestRows(scores, options.pre_max);
  return best.index_select(0, RowsAfterNms(boxes.index_select(0, best), scores.index_select(0, best), options));
}

}  // namespace kd
