// Sparse 3D convolution on the CPU: cross-correlation over the pairs of a rulebook (detectors.md section 1.3).
//
// For each block of output rows and each kernel position, groups of input rows are multiplied with the position's
// weights in registers and added to the block's results in cache; nothing is gathered to or scattered from main memory.
// SparseConvForward() writes only the range that it is asked for, so ranges may run in parallel. Results do not depend
// on how ranges are cut; they may differ in the last bits between processors with other vector units.
#ifndef KD_OPS_SPARSE_CONV_H_
#define KD_OPS_SPARSE_CONV_H_

#include <cstdint>
#include <vector>

#include "ops/sparse_rulebook.h"

namespace kd {

// Where the weight of (position, in, out) stands: position * positions + in * ins + out * outs.
struct WeightStrides {
  int64_t positions = 0, ins = 0, outs = 0;
};

// Weights in the order in which the kernels read them.
class PackedWeights {
 public:
  // Output channels that one pass computes.
  static constexpr int64_t kPanel = 16;

  PackedWeights(const float* weights, int32_t volume, int64_t in_channels, int64_t out_channels,
                const WeightStrides& strides);

  int64_t in_channels() const { return in_channels_; }
  int64_t out_channels() const { return out_channels_; }
  int64_t panels() const { return (out_channels_ + kPanel - 1) / kPanel; }
  // in_channels x kPanel floats; columns past out_channels are zero.
  const float* Panel(int32_t position, int64_t panel) const {
    return values_.data() + (position * panels() + panel) * in_channels_ * kPanel;
  }

 private:
  int64_t in_channels_, out_channels_;
  std::vector<float> values_;
};

// Rows of the blocks [begin, end) of `output` (num_out x out_channels) = bias + sum of input rows times weights.
// input num_in x in_channels; bias out_channels floats or null.
void SparseConvForward(const Rulebook& rulebook, const float* input, const PackedWeights& weights, const float* bias,
                       float* output, int64_t begin, int64_t end);

// Gradients of the weights: gradient (volume x in_channels x out_channels) = sum over pairs of input row (transposed)
// times gradient row. grad_output num_out x out_channels.
void SparseConvWeightGradient(const Rulebook& rulebook, const float* input, int64_t in_channels,
                              const float* grad_output, int64_t out_channels, float* gradient,
                              ParallelFor parallel = SerialFor);

}  // namespace kd

#endif  // KD_OPS_SPARSE_CONV_H_
