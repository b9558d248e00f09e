// Non-maximum suppression of rotated boxes as OpenPCDet has it (model_nms_utils.py, iou3d_nms_utils.py), on the CPU.
//
// Scores are equal more often than chance would have it, as sigmoids saturate: LibTorch's own topk and sort choose the
// order then, as they do for the original.
#ifndef KD_MODELS_BOX_SUPPRESSION_H_
#define KD_MODELS_BOX_SUPPRESSION_H_

#include <cstdint>

#include "torch/types.h"

namespace kd {

struct NmsOptions {
  // A box goes when its BEV IoU with a kept one is strictly greater.
  double iou_threshold = 0.7;
  // Best boxes by score that take part, and boxes kept at most.
  int64_t pre_max = 4096;
  int64_t post_max = 500;
};

// Rows of the `most` best among N scores, best first.
torch::Tensor BestRows(const torch::Tensor& scores, int64_t most);

// Rows of N x (7 or more) boxes that stay, by descending score. pre_max is left to BestRows().
torch::Tensor RowsAfterNms(const torch::Tensor& boxes, const torch::Tensor& scores, const NmsOptions& options);

// Both: what stays of the best.
torch::Tensor SuppressBoxes(const torch::Tensor& boxes, const torch::Tensor& scores, const NmsOptions& options);

}  // namespace kd

#endif  // KD_MODELS_BOX_SUPPRESSION_H_
