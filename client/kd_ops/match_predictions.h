// Predicted boxes of two implementations, brought into one order.
#ifndef KD_CLIENT_KD_OPS_MATCH_PREDICTIONS_H_
#define KD_CLIENT_KD_OPS_MATCH_PREDICTIONS_H_

#include "client/kd_ops/operation.h"

namespace kd {

// `got` with the rows of every "X.pred_boxes", "X.pred_scores" and "X.pred_labels" in the order of `want`: rounding
// decides how boxes of close scores are sorted. A wanted row gets the nearest box of its label whose score is within
// atol + rtol * |wanted score|, each box once; rows without such a box get what is left, in order. Frames of which
// `got` lacks a tensor, or has one of another shape, stay as they are.
TensorMap MatchPredictions(TensorMap got, const TensorMap& want, double rtol, double atol);

}  // namespace kd

#endif  // KD_CLIENT_KD_OPS_MATCH_PREDICTIONS_H_
