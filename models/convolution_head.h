// Fully connected layers of second stages, which OpenPCDet keeps as convolutions.
#ifndef KD_MODELS_CONVOLUTION_HEAD_H_
#define KD_MODELS_CONVOLUTION_HEAD_H_

#include "torch/torch.h"

namespace kd {

inline constexpr int64_t kHeadWidth = 256;

// `hidden` 1-wide convolutions to kHeadWidth channels at entries 0, 4, ..., with batch norm and rectifier, dropout
// between; after them one to `out` channels with a bias, if any. Reads and gives rows x channels x 1.
torch::nn::Sequential NewConvolutionHead(int64_t in, int hidden, int64_t out);

}  // namespace kd

#endif  // KD_MODELS_CONVOLUTION_HEAD_H_
