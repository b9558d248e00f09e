#include "models/convolution_head.h"

namespace kd {

namespace nn = torch::nn;

nn::Sequential NewConvolutionHead(int64_t in, int hidden, int64_t out) {
  nn::Sequential layers;
  for (int i = 0; i < hidden; ++i) {
    if (i > 0) layers->push_back(nn::Dropout(nn::DropoutOptions(0.3)));
    layers->push_back(nn::Conv1d(nn::Conv1dOptions(i == 0 ? in : kHeadWidth, kHeadWidth, 1).bias(false)));
    layers->push_back(nn::BatchNorm1d(kHeadWidth));
    layers->push_back(nn::ReLU());
  }
  if (out > 0) layers->push_back(nn::Conv1d(nn::Conv1dOptions(kHeadWidth, out, 1)));
  return layers;
}

}  // namespace kd
