#include <algorithm>
#include <array>
#include <cmath>

#include "tests/graph_ops.h"

namespace kd {

GraphValue PillarPoints(const GraphCall& call) {
  const GraphValue& voxels = call.In(0);
  const GraphValue& num_points = call.In(1);
  const GraphValue& coords = call.In(2);
  const int64_t count = voxels.shape[0], slots = voxels.shape[1], features = voxels.shape[2];
  const int64_t first_column = call.node.at("use_absolute_xyz").get<bool>() ? 0 : 3;
  GraphValue out{
      .shape = {count, slots, features - first_column + 6 + (call.node.at("with_distance").get<bool>() ? 1 : 0)}};
  for (int64_t v = 0; v < count; ++v) {
    const auto point = [&](int64_t slot, int64_t column) {
      return voxels.data[static_cast<size_t>((v * slots + slot) * features + column)];
    };
    std::array<double, 3> mean{}, centre{};
    for (int64_t axis = 0; axis < 3; ++axis) {
      for (int64_t slot = 0; slot < slots; ++slot) mean[axis] += point(slot, axis);
      mean[axis] /= num_points.data[v];
      // coords are frame, z, y, x.
      centre[axis] = coords.data[v * 4 + 3 - axis] * call.node.at("voxel_size").at(axis).get<double>() +
                     call.node.at("first_centre").at(axis).get<double>();
    }
    for (int64_t slot = 0; slot < slots; ++slot) {
      std::vector<double> row;
      for (int64_t i = first_column; i < features; ++i) row.push_back(point(slot, i));
      for (int64_t axis = 0; axis < 3; ++axis) row.push_back(point(slot, axis) - mean[axis]);
      for (int64_t axis = 0; axis < 3; ++axis) row.push_back(point(slot, axis) - centre[axis]);
      if (call.node.at("with_distance").get<bool>())
        row.push_back(std::hypot(point(slot, 0), point(slot, 1), point(slot, 2)));
      if (slot >= num_points.data[v]) row.assign(row.size(), 0);
      out.data.insert(out.data.end(), row.begin(), row.end());
    }
  }
  return out;
}

GraphValue MeanPoints(const GraphCall& call) {
  const GraphValue& voxels = call.In(0);
  const GraphValue& coords = call.In(2);
  const int64_t count = voxels.shape[0], slots = voxels.shape[1], features = voxels.shape[2];
  GraphValue out{.shape = {count, features}};
  for (int64_t v = 0; v < count; ++v) {
    for (int64_t i = 0; i < features; ++i) {
      double sum = 0;
      for (int64_t slot = 0; slot < slots; ++slot) sum += voxels.data[(v * slots + slot) * features + i];
      out.data.push_back(sum / std::max(call.In(1).data[v], 1.0));
    }
    std::array<int64_t, 3> site{};
    for (size_t axis = 0; axis < 3; ++axis) site[axis] = static_cast<int64_t>(coords.data[v * 4 + 1 + axis]);
    out.sites.push_back(site);
  }
  return out;
}

GraphValue Linear(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  const int64_t in = x.shape.back(), outputs = call.weight.shape[0];
  Require(call.weight.shape[1] == in, "a linear layer does not fit its input");
  const std::vector<float>& weight = call.weight.values;
  const std::vector<float> bias = call.Bias(outputs);
  GraphValue out{.shape = x.shape};
  out.shape.back() = outputs;
  for (size_t row = 0; row < x.data.size(); row += in) {
    for (int64_t o = 0; o < outputs; ++o) {
      double sum = bias[o];
      for (int64_t i = 0; i < in; ++i) sum += x.data[row + i] * weight[o * in + i];
      out.data.push_back(sum);
    }
  }
  return out;
}

GraphValue MaxPoints(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  const int64_t slots = x.shape[1], width = x.shape[2];
  GraphValue out{.shape = {x.shape[0], width}};
  for (int64_t v = 0; v < x.shape[0]; ++v) {
    for (int64_t i = 0; i < width; ++i) {
      double most = x.data[v * slots * width + i];
      for (int64_t slot = 1; slot < slots; ++slot) most = std::max(most, x.data[(v * slots + slot) * width + i]);
      out.data.push_back(most);
    }
  }
  return out;
}

GraphValue AppendMax(const GraphCall& call) {
  const GraphValue& x = call.In(0);
  const GraphValue maxima = MaxPoints(call);
  const int64_t slots = x.shape[1], width = x.shape[2];
  GraphValue out{.shape = {x.shape[0], slots, 2 * width}};
  for (int64_t row = 0; row < x.shape[0] * slots; ++row) {
    for (int64_t i = 0; i < width; ++i) out.data.push_back(x.data[row * width + i]);
    for (int64_t i = 0; i < width; ++i) out.data.push_back(maxima.data[row / slots * width + i]);
  }
  return out;
}

GraphValue Scatter(const GraphCall& call) {
  const GraphValue& rows = call.In(0);
  const GraphValue& coords = call.In(1);
  GraphValue out = Zeros(call);
  const int64_t channels = out.shape[1], height = out.shape[2], width = out.shape[3];
  for (int64_t v = 0; v < rows.shape[0]; ++v) {
    const auto y = static_cast<int64_t>(coords.data[v * 4 + 2]), x = static_cast<int64_t>(coords.data[v * 4 + 3]);
    for (int64_t c = 0; c < channels; ++c) out.data[(c * height + y) * width + x] = rows.data[v * channels + c];
  }
  return out;
}

}  // namespace kd
