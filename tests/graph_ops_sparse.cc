#include <array>
#include <map>
#include <set>

#include "tests/graph_ops.h"

namespace kd {
namespace {

using Site = std::array<int64_t, 3>;

// Sites whose kernel covers at least one of the input's.
std::vector<Site> ReachedSites(const GraphCall& call) {
  const Extents kernel = call.node.at("kernel"), stride = call.node.at("stride"), padding = call.node.at("padding");
  std::set<Site> reached;
  for (const auto& in : call.In(0).sites) {
    for (int64_t kz = 0; kz < kernel[0]; ++kz) {
      for (int64_t ky = 0; ky < kernel[1]; ++ky) {
        for (int64_t kx = 0; kx < kernel[2]; ++kx) {
          const Site k = {kz, ky, kx};
          Site out{};
          bool inside = true;
          for (size_t axis = 0; axis < 3; ++axis) {
            const int64_t first = in[axis] + padding[axis] - k[axis];
            out[axis] = first / stride[axis];
            inside = inside && first >= 0 && first % stride[axis] == 0 &&
                     out[axis] < call.node.at("output").at("grid").at(axis).get<int64_t>();
          }
          if (inside) reached.insert(out);
        }
      }
    }
  }
  return {reached.begin(), reached.end()};
}

GraphValue Convolve(const GraphCall& call, const std::vector<Site>& sites, const Extents& stride,
                    const Extents& padding) {
  const GraphValue& x = call.In(0);
  const Extents kernel = call.node.at("kernel");
  const int64_t in = x.shape[1], outputs = call.weight.shape[0];
  Require(call.weight.shape == Extents({outputs, kernel[0], kernel[1], kernel[2], in}),
          "a sparse convolution does not fit its input");
  const std::vector<float>& weight = call.weight.values;
  const std::vector<float> bias = call.Bias(outputs);
  std::map<Site, int64_t> rows;
  for (size_t row = 0; row < x.sites.size(); ++row) rows[x.sites[row]] = static_cast<int64_t>(row);
  GraphValue out{.shape = {static_cast<int64_t>(sites.size()), outputs}, .sites = sites};
  for (const auto& site : sites) {
    std::vector<double> sums(bias.begin(), bias.end());
    for (int64_t k = 0; k < kernel[0] * kernel[1] * kernel[2]; ++k) {
      const Site at = {k / kernel[2] / kernel[1], k / kernel[2] % kernel[1], k % kernel[2]};
      Site from{};
      for (size_t axis = 0; axis < 3; ++axis) from[axis] = site[axis] * stride[axis] - padding[axis] + at[axis];
      const auto row = rows.find(from);
      if (row == rows.end()) continue;
      for (int64_t o = 0; o < outputs; ++o) {
        const float* const w = &weight[(o * kernel[0] * kernel[1] * kernel[2] + k) * in];
        for (int64_t i = 0; i < in; ++i) sums[o] += x.data[row->second * in + i] * w[i];
      }
    }
    out.data.insert(out.data.end(), sums.begin(), sums.end());
  }
  return out;
}

}  // namespace

GraphValue SubmanifoldConv3d(const GraphCall& call) {
  const Extents kernel = call.node.at("kernel");
  // The sites stay under the middle of the kernel.
  return Convolve(call, call.In(0).sites, {1, 1, 1}, {kernel[0] / 2, kernel[1] / 2, kernel[2] / 2});
}

GraphValue SparseConv3d(const GraphCall& call) {
  return Convolve(call, ReachedSites(call), call.node.at("stride"), call.node.at("padding"));
}

GraphValue Add(const GraphCall& call) {
  const GraphValue &a = call.In(0), &b = call.In(1);
  Require(a.shape == b.shape && a.sites == b.sites, "add: two sets of sites");
  GraphValue out = a;
  for (size_t i = 0; i < out.data.size(); ++i) out.data[i] += b.data[i];
  return out;
}

GraphValue ToDense(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  GraphValue out = Zeros(call);
  const int64_t channels = x.shape[1], depth = out.shape[1] / channels, height = out.shape[2], width = out.shape[3];
  for (size_t row = 0; row < x.sites.size(); ++row) {
    const auto [z, y, at] = x.sites[row];
    for (int64_t c = 0; c < channels; ++c) {
      out.data[((c * depth + z) * height + y) * width + at] = x.data[row * channels + c];
    }
  }
  return out;
}

}  // namespace kd
