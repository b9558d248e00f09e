#include "tests/graph_interpreter.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "base/digest.h"
#include "base/file.h"
#include "core/safetensors.h"
#include "nlohmann/json.hpp"

namespace kd {
namespace {

using Json = nlohmann::json;
using Extents = std::vector<int64_t>;

void Require(bool condition, const std::string& problem) {
  if (!condition) throw std::runtime_error("graph: " + problem);
}

int64_t Count(const Extents& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

class Interpreter {
 public:
  Interpreter(const std::string& folder, std::map<std::string, GraphValue> inputs) : values_(std::move(inputs)) {
    graph_ = Json::parse(ReadFile(folder + "/graph.json").value());
    Require(graph_.at("format") == "kdfleet-graph/1", "unknown format");
    const std::string bytes = ReadFile(folder + "/" + graph_.at("weights").at("file").get<std::string>()).value();
    Require(graph_.at("weights").at("digest") == Sha256Digest(bytes), "the weights have another digest");
    weights_ = ParseSafeTensors(bytes).value().tensors;
  }

  std::map<std::string, GraphValue> Run() {
    for (const Json& input : graph_.at("metadata").at("inputs")) CheckShape(input, In(input.at("name")));
    for (const Json& node : graph_.at("nodes")) {
      GraphValue value = RunNode(node);
      if (node.value("relu", false)) {
        for (double& v : value.data) v = std::max(v, 0.0);
      }
      CheckShape(node.at("output"), value);
      values_[node.at("output").at("name")] = std::move(value);
    }
    std::map<std::string, GraphValue> outputs;
    for (const Json& output : graph_.at("metadata").at("outputs")) {
      const auto name = output.at("name").get<std::string>();
      outputs[name] = In(name);
      CheckShape(output, outputs[name]);
    }
    return outputs;
  }

 private:
  const GraphValue& In(const std::string& name) const {
    const auto found = values_.find(name);
    Require(found != values_.end(), "nothing makes " + name);
    return found->second;
  }
  const GraphValue& In(const Json& node, size_t i) const { return In(node.at("inputs").at(i).get<std::string>()); }

  // Names stand for the same number everywhere.
  void CheckShape(const Json& tensor, const GraphValue& value) {
    const auto name = tensor.at("name").get<std::string>();
    const Json& shape = tensor.at("shape");
    Require(shape.size() == value.shape.size(), name + " has another number of axes");
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      const int64_t have = value.shape[axis];
      const int64_t want = shape[axis].is_string() ? counts_.emplace(shape[axis].get<std::string>(), have).first->second
                                                   : shape[axis].get<int64_t>();
      Require(have == want, name + " has another shape than the file says");
    }
    Require(Count(value.shape) == static_cast<int64_t>(value.data.size()), name + " is not complete");
    for (const auto& site : value.sites) {
      for (size_t axis = 0; axis < 3; ++axis) {
        Require(site[axis] >= 0 && site[axis] < tensor.at("grid").at(axis).get<int64_t>(), name + " leaves its grid");
      }
    }
  }

  std::vector<float> Weight(const std::string& name) const {
    const SafeTensor& tensor = weights_.at(name);
    Require(tensor.dtype == "F32", name + " is not F32");
    std::vector<float> values(tensor.bytes.size() / sizeof(float));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  const Extents& WeightShape(const Json& node) const { return weights_.at(node.at("weight").get<std::string>()).shape; }
  std::vector<float> Bias(const Json& node, int64_t outputs) const {
    if (!node.contains("bias")) return std::vector<float>(static_cast<size_t>(outputs));
    return Weight(node.at("bias"));
  }

  GraphValue RunNode(const Json& node) {
    const auto op = node.at("op").get<std::string>();
    if (op == "pillar_points") return PillarPoints(node);
    if (op == "mean_points") return MeanPoints(node);
    if (op == "linear") return Linear(node);
    if (op == "append_max") return AppendMax(In(node, 0));
    if (op == "max_points") return MaxPoints(In(node, 0));
    if (op == "scatter") return Scatter(node);
    if (op == "submanifold_conv3d") return SparseConvolution(node, In(node, 0).sites);
    if (op == "sparse_conv3d") return SparseConvolution(node, ReachedSites(node));
    if (op == "add") return Add(In(node, 0), In(node, 1));
    if (op == "to_dense") return ToDense(node);
    if (op == "conv2d") return Conv2d(node);
    if (op == "conv_transpose2d") return ConvTranspose2d(node);
    if (op == "concat") return Concat(node);
    if (op == "channels_last") return ChannelsLast(In(node, 0));
    throw std::runtime_error("graph: unknown op " + op);
  }

  GraphValue PillarPoints(const Json& node) const {
    const GraphValue& voxels = In(node, 0);
    const GraphValue& num_points = In(node, 1);
    const GraphValue& coords = In(node, 2);
    const int64_t count = voxels.shape[0], slots = voxels.shape[1], features = voxels.shape[2];
    GraphValue out{.shape = {count, slots, features + 6 + (node.at("with_distance").get<bool>() ? 1 : 0)}};
    for (int64_t v = 0; v < count; ++v) {
      const auto point = [&](int64_t slot, int64_t column) {
        return voxels.data[static_cast<size_t>((v * slots + slot) * features + column)];
      };
      std::array<double, 3> mean{}, centre{};
      for (int64_t axis = 0; axis < 3; ++axis) {
        for (int64_t slot = 0; slot < slots; ++slot) mean[axis] += point(slot, axis);
        mean[axis] /= num_points.data[v];
        // coords are frame, z, y, x.
        centre[axis] = coords.data[v * 4 + 3 - axis] * node.at("voxel_size").at(axis).get<double>() +
                       node.at("first_centre").at(axis).get<double>();
      }
      for (int64_t slot = 0; slot < slots; ++slot) {
        std::vector<double> row;
        for (int64_t i = 0; i < features; ++i) row.push_back(point(slot, i));
        for (int64_t axis = 0; axis < 3; ++axis) row.push_back(point(slot, axis) - mean[axis]);
        for (int64_t axis = 0; axis < 3; ++axis) row.push_back(point(slot, axis) - centre[axis]);
        if (node.at("with_distance").get<bool>()) row.push_back(std::hypot(row[0], row[1], row[2]));
        if (slot >= num_points.data[v]) row.assign(row.size(), 0);
        out.data.insert(out.data.end(), row.begin(), row.end());
      }
    }
    return out;
  }

  GraphValue MeanPoints(const Json& node) const {
    const GraphValue& voxels = In(node, 0);
    const GraphValue& coords = In(node, 2);
    const int64_t count = voxels.shape[0], slots = voxels.shape[1], features = voxels.shape[2];
    GraphValue out{.shape = {count, features}};
    for (int64_t v = 0; v < count; ++v) {
      for (int64_t i = 0; i < features; ++i) {
        double sum = 0;
        for (int64_t slot = 0; slot < slots; ++slot) sum += voxels.data[(v * slots + slot) * features + i];
        out.data.push_back(sum / std::max(In(node, 1).data[v], 1.0));
      }
      std::array<int64_t, 3> site{};
      for (size_t axis = 0; axis < 3; ++axis) site[axis] = static_cast<int64_t>(coords.data[v * 4 + 1 + axis]);
      out.sites.push_back(site);
    }
    return out;
  }

  GraphValue Linear(const Json& node) const {
    const GraphValue& x = In(node, 0);
    const int64_t in = x.shape.back(), outputs = WeightShape(node)[0];
    Require(WeightShape(node)[1] == in, "a linear layer does not fit its input");
    const std::vector<float> weight = Weight(node.at("weight")), bias = Bias(node, outputs);
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

  static GraphValue MaxPoints(const GraphValue& x) {
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

  static GraphValue AppendMax(const GraphValue& x) {
    const GraphValue maxima = MaxPoints(x);
    const int64_t slots = x.shape[1], width = x.shape[2];
    GraphValue out{.shape = {x.shape[0], slots, 2 * width}};
    for (int64_t row = 0; row < x.shape[0] * slots; ++row) {
      for (int64_t i = 0; i < width; ++i) out.data.push_back(x.data[row * width + i]);
      for (int64_t i = 0; i < width; ++i) out.data.push_back(maxima.data[row / slots * width + i]);
    }
    return out;
  }

  // Zero everywhere, with the shape that the file says.
  static GraphValue Zeros(const Json& node) {
    GraphValue out{.shape = node.at("output").at("shape").get<Extents>()};
    out.data.assign(static_cast<size_t>(Count(out.shape)), 0);
    return out;
  }

  GraphValue Scatter(const Json& node) const {
    const GraphValue& rows = In(node, 0);
    const GraphValue& coords = In(node, 1);
    GraphValue out = Zeros(node);
    const int64_t channels = out.shape[1], height = out.shape[2], width = out.shape[3];
    for (int64_t v = 0; v < rows.shape[0]; ++v) {
      const auto y = static_cast<int64_t>(coords.data[v * 4 + 2]), x = static_cast<int64_t>(coords.data[v * 4 + 3]);
      for (int64_t c = 0; c < channels; ++c) out.data[(c * height + y) * width + x] = rows.data[v * channels + c];
    }
    return out;
  }

  // Sites whose kernel covers at least one of the input's.
  std::vector<std::array<int64_t, 3>> ReachedSites(const Json& node) const {
    const Extents kernel = node.at("kernel"), stride = node.at("stride"), padding = node.at("padding");
    std::map<std::array<int64_t, 3>, bool> reached;
    for (const auto& in : In(node, 0).sites) {
      for (int64_t kz = 0; kz < kernel[0]; ++kz) {
        for (int64_t ky = 0; ky < kernel[1]; ++ky) {
          for (int64_t kx = 0; kx < kernel[2]; ++kx) {
            const std::array<int64_t, 3> k = {kz, ky, kx};
            std::array<int64_t, 3> out{};
            bool inside = true;
            for (size_t axis = 0; axis < 3; ++axis) {
              const int64_t first = in[axis] + padding[axis] - k[axis];
              out[axis] = first / stride[axis];
              inside = inside && first >= 0 && first % stride[axis] == 0 &&
                       out[axis] < node.at("output").at("grid").at(axis).get<int64_t>();
            }
            if (inside) reached[out] = true;
          }
        }
      }
    }
    std::vector<std::array<int64_t, 3>> sites;
    for (const auto& [site, ignored] : reached) sites.push_back(site);
    return sites;
  }

  GraphValue SparseConvolution(const Json& node, const std::vector<std::array<int64_t, 3>>& sites) const {
    const GraphValue& x = In(node, 0);
    const Extents kernel = node.at("kernel");
    // Submanifold: sites stay under the middle of the kernel.
    const bool stays = node.at("op") == "submanifold_conv3d";
    const Extents stride = stays ? Extents{1, 1, 1} : node.at("stride").get<Extents>();
    const Extents padding =
        stays ? Extents{kernel[0] / 2, kernel[1] / 2, kernel[2] / 2} : node.at("padding").get<Extents>();
    const int64_t in = x.shape[1], outputs = WeightShape(node)[0];
    Require(WeightShape(node) == Extents({outputs, kernel[0], kernel[1], kernel[2], in}),
            "a sparse convolution does not fit its input");
    const std::vector<float> weight = Weight(node.at("weight")), bias = Bias(node, outputs);
    std::map<std::array<int64_t, 3>, int64_t> rows;
    for (size_t row = 0; row < x.sites.size(); ++row) rows[x.sites[row]] = static_cast<int64_t>(row);
    GraphValue out{.shape = {static_cast<int64_t>(sites.size()), outputs}, .sites = sites};
    for (const auto& site : sites) {
      std::vector<double> sums(bias.begin(), bias.end());
      for (int64_t k = 0; k < kernel[0] * kernel[1] * kernel[2]; ++k) {
        const std::array<int64_t, 3> at = {k / kernel[2] / kernel[1], k / kernel[2] % kernel[1], k % kernel[2]};
        std::array<int64_t, 3> from{};
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

  static GraphValue Add(const GraphValue& a, const GraphValue& b) {
    Require(a.shape == b.shape && a.sites == b.sites, "add: two sets of sites");
    GraphValue out = a;
    for (size_t i = 0; i < out.data.size(); ++i) out.data[i] += b.data[i];
    return out;
  }

  GraphValue ToDense(const Json& node) const {
    const GraphValue& x = In(node, 0);
    GraphValue out = Zeros(node);
    const int64_t channels = x.shape[1], depth = out.shape[1] / channels, height = out.shape[2], width = out.shape[3];
    for (size_t row = 0; row < x.sites.size(); ++row) {
      const auto [z, y, at] = x.sites[row];
      for (int64_t c = 0; c < channels; ++c) {
        out.data[((c * depth + z) * height + y) * width + at] = x.data[row * channels + c];
      }
    }
    return out;
  }

  GraphValue Conv2d(const Json& node) const {
    const GraphValue& x = In(node, 0);
    const Extents kernel = node.at("kernel"), stride = node.at("stride"), padding = node.at("padding");
    const int64_t in = x.shape[1], height = x.shape[2], width = x.shape[3], outputs = WeightShape(node)[0];
    Require(WeightShape(node) == Extents({outputs, in, kernel[0], kernel[1]}), "a convolution does not fit its input");
    const std::vector<float> weight = Weight(node.at("weight")), bias = Bias(node, outputs);
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

  GraphValue ConvTranspose2d(const Json& node) const {
    const GraphValue& x = In(node, 0);
    const Extents kernel = node.at("kernel"), stride = node.at("stride");
    Require(kernel == stride && node.at("padding") == Extents({0, 0}), "transposed convolutions must not overlap");
    const int64_t in = x.shape[1], height = x.shape[2], width = x.shape[3], outputs = WeightShape(node)[1];
    Require(WeightShape(node) == Extents({in, outputs, kernel[0], kernel[1]}), "a convolution does not fit its input");
    const std::vector<float> weight = Weight(node.at("weight")), bias = Bias(node, outputs);
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

  GraphValue Concat(const Json& node) const {
    GraphValue out{.shape = In(node, 0).shape};
    out.shape[1] = 0;
    for (size_t i = 0; i < node.at("inputs").size(); ++i) {
      const GraphValue& map = In(node, i);
      out.shape[1] += map.shape[1];
      out.data.insert(out.data.end(), map.data.begin(), map.data.end());
    }
    return out;
  }

  static GraphValue ChannelsLast(const GraphValue& x) {
    const int64_t channels = x.shape[1], cells = x.shape[2] * x.shape[3];
    GraphValue out{.shape = {1, x.shape[2], x.shape[3], channels}};
    for (int64_t cell = 0; cell < cells; ++cell) {
      for (int64_t c = 0; c < channels; ++c) out.data.push_back(x.data[c * cells + cell]);
    }
    return out;
  }

  Json graph_;
  std::map<std::string, SafeTensor> weights_;
  std::map<std::string, GraphValue> values_;
  std::map<std::string, int64_t> counts_;
};

}  // namespace

std::map<std::string, GraphValue> RunGraph(const std::string& folder, std::map<std::string, GraphValue> inputs) {
  return Interpreter(folder, std::move(inputs)).Run();
}

}  // namespace kd
