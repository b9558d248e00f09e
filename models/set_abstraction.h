// Set abstraction with two radii: features of points around queries, through shared layers, and their maximum
// (detectors.md section 7.3).
#ifndef KD_MODELS_SET_ABSTRACTION_H_
#define KD_MODELS_SET_ABSTRACTION_H_

#include <vector>

#include "models/framed_points.h"
#include "torch/torch.h"

namespace kd {

struct SetAbstractionOptions {
  int64_t in_channels = 0;  // features of a point, its offset not counted
  int64_t width = 16;       // of both layers
  std::vector<float> radii;
  std::vector<int> samples;
};

// Parameters mlps.{radius}.{0,1,3,4}.
class SetAbstractionImpl : public torch::nn::Module {
 public:
  explicit SetAbstractionImpl(const SetAbstractionOptions& options);
  // queries B x M x 3 -> (B * M) x (width * radii). A query without neighbours pools the layers' answer to zeros.
  torch::Tensor forward(const FramedPoints& points, const torch::Tensor& queries);

 private:
  struct Layers {
    torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
    torch::nn::BatchNorm2d norm1{nullptr}, norm2{nullptr};
  };
  const SetAbstractionOptions options_;
  std::vector<Layers> mlps_;
};
TORCH_MODULE(SetAbstraction);

// Rows of a query, -1 for none, as rows of [offset | features] with zeros for none: (Q * S) x (3 + C).
torch::Tensor GroupPoints(const torch::Tensor& xyz, const torch::Tensor& features, const torch::Tensor& queries,
                          const torch::Tensor& rows);

}  // namespace kd

#endif  // KD_MODELS_SET_ABSTRACTION_H_
