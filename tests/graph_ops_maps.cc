#include <algorithm>

#include "tests/graph_ops.h"

namespace kd {

GraphValue Conv2d(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  const Extents kernel = call.node.at("kernel"), stride = call.node.at("stride"), padding = call.node.at("padding");
  const int64_t in = x.shape[1], height = x.shape[2], width = x.shape[3], outputs = call.weight.shape[0];
  Require(call.weight.shape == Extents({outputs, in, kernel[0], kernel[1]}), "a convolution does not fit its input");
  const std::vector<float>& weight = call.weight.values;
  const std::vector<float> bias = call.Bias(outputs);
  const int64_t rows = (height + 2 * padding[0] - kernel[0]) / stride[0] + 1;
  const int64_t columns = (width + 2 * padding[1] - kernel[1]) / stride[1] + 1;
  GraphValue out{.shape = {1, outputs, rows, columns}};
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t cell = 0; cell < rows * columns; ++cell) {
      const int64_t top = cell / columns * stride[0] - padding[0], left = cell % columns * stride[1] - padding[1];
      double sum = bias[o];
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t ky = std::max<int64_t>(0, -top); ky < kernel[0] && top + ky < height; ++ky) {
          for (int64_t kx = std::max<int64_t>(0, -left); kx < kernel[1] && left + kx < width; ++kx) {
            sum += x.data[(i * height + top + ky) * width + left + kx] *
                   weight[((o * in + i) * kernel[0] + ky) * kernel[1] + kx];
          }
        }
      }
      out.data.push_back(sum);
    }
  }
  return out;
}

GraphValue ConvTranspose2d(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  const Extents kernel = call.node.at("kernel"), stride = call.node.at("stride");
  Require(kernel == stride && call.node.at("padding") == Extents({0, 0}), "transposed convolutions must not overlap");
  const int64_t in = x.shape[1], height = x.shape[2], width = x.shape[3], outputs = call.weight.shape[1];
  Require(call.weight.shape == Extents({in, outputs, kernel[0], kernel[1]}), "a convolution does not fit its input");
  const std::vector<float>& weight = call.weight.values;
  const std::vector<float> bias = call.Bias(outputs);
  const int64_t rows = height * stride[0], columns = width * stride[1];
  GraphValue out{.shape = {1, outputs, rows, columns}};
  for (int64_t o = 0; o < outputs; ++o) {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        double sum = bias[o];
        for (int64_t i = 0; i < in; ++i) {
          sum += x.data[(i * height + row / stride[0]) * width + column / stride[1]] *
                 weight[((i * outputs + o) * kernel[0] + row % stride[0]) * kernel[1] + column % stride[1]];
        }
        out.data.push_back(sum);
      }
    }
  }
  return out;
}

GraphValue Concat(const GraphCall& call) {
  GraphValue out{.shape = call.In(0).shape};
  out.shape[1] = 0;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const GraphValue& map = call.In(i);
    out.shape[1] += map.shape[1];
    out.data.insert(out.data.end(), map.data.begin(), map.data.end());
  }
  return out;
}

GraphValue ChannelsLast(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  const int64_t channels = x.shape[1], cells = x.shape[2] * x.shape[3];
  GraphValue out{.shape = {1, x.shape[2], x.shape[3], channels}};
  for (int64_t cell = 0; cell < cells; ++cell) {
    for (int64_t c = 0; c < channels; ++c) out.data.push_back(x.data[c * cells + cell]);
  }
  return out;
}

}  // namespace kd
