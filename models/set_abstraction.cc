#include "models/set_abstraction.h"

#include "absl/strings/str_cat.h"
#include "ops/point_query.h"

namespace kd {

namespace nn = torch::nn;
using torch::Tensor;

SetAbstractionImpl::SetAbstractionImpl(const SetAbstractionOptions& options) : options_(options) {
  nn::ModuleList mlps;
  for (size_t i = 0; i < options.radii.size(); ++i) {
    const auto conv = [&](int64_t in) { return nn::Conv2d(nn::Conv2dOptions(in, options.width, 1).bias(false)); };
    Layers layers{.conv1 = conv(options.in_channels + 3),
                  .conv2 = conv(options.width),
                  .norm1 = nn::BatchNorm2d(options.width),
                  .norm2 = nn::BatchNorm2d(options.width)};
    mlps->push_back(nn::Sequential(layers.conv1, layers.norm1, nn::ReLU(), layers.conv2, layers.norm2, nn::ReLU()));
    mlps_.push_back(layers);
  }
  register_module("mlps", mlps);
}

Tensor GroupPoints(const Tensor& xyz, const Tensor& features, const Tensor& queries, const Tensor& rows) {
  const Tensor found = (rows >= 0).unsqueeze(2).to(torch::kFloat32);
  const Tensor safe = rows.clamp_min(0).flatten();
  const int64_t q = rows.size(0), s = rows.size(1);
  const Tensor offsets = xyz.index_select(0, safe).view({q, s, 3}) - queries.unsqueeze(1);
  const Tensor grouped = torch::cat({offsets, features.index_select(0, safe).view({q, s, -1})}, 2) * found;
  return grouped.view({q * s, -1});
}

Tensor SetAbstractionImpl::forward(const FramedPoints& points, const Tensor& queries) {
  const int64_t batch = queries.size(0), per_frame = queries.size(1);
  const Tensor all = queries.cpu().contiguous(), flat = queries.reshape({-1, 3});
  std::vector<Tensor> pooled;
  for (size_t i = 0; i < mlps_.size(); ++i) {
    const int samples = options_.samples[i];
    std::vector<Tensor> found;
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t begin = points.starts[b], count = points.starts[b + 1] - begin;
      const Tensor rows =
          torch::tensor(BallQuery(points.xyz.data_ptr<float>() + begin * 3, static_cast<size_t>(count),
                                  all[b].data_ptr<float>(), static_cast<size_t>(per_frame), options_.radii[i], samples),
                        torch::kInt64);
      found.push_back(torch::where(rows >= 0, rows + begin, rows));
    }
    const Tensor rows = torch::cat(found).view({batch * per_frame, samples}).to(flat.device());
    // 1x1 convolutions over groups are one product over all their rows.
    Layers& layers = mlps_[i];
    Tensor x = points.xyz.size(0) == 0 ? torch::zeros({rows.numel(), options_.in_channels + 3}, flat.options())
                                       : GroupPoints(points.xyz.to(flat.device()), points.features, flat, rows);
    const auto layer = [](const Tensor& in, nn::Conv2d& conv, nn::BatchNorm2d& norm) {
      const Tensor out = in.matmul(conv->weight.flatten(1).t());
      return torch::relu(norm->forward(out.unsqueeze(2).unsqueeze(3))).flatten(1);
    };
    x = layer(layer(x, layers.conv1, layers.norm1), layers.conv2, layers.norm2);
    pooled.push_back(std::get<0>(x.view({batch * per_frame, samples, -1}).max(1)));
  }
  return torch::cat(pooled, 1);
}

}  // namespace kd
