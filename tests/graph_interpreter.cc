#include "tests/graph_interpreter.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>
#include <stdexcept>

#include "base/digest.h"
#include "base/file.h"
#include "core/safetensors.h"
#include "nlohmann/json.hpp"
#include "tests/graph_ops.h"

namespace kd {
namespace {

using Json = nlohmann::json;

using Operation = GraphValue (*)(const GraphCall&);
const std::map<std::string, Operation> kOperations = {{"pillar_points", PillarPoints},
                                                      {"mean_points", MeanPoints},
                                                      {"linear", Linear},
                                                      {"append_max", AppendMax},
                                                      {"max_points", MaxPoints},
                                                      {"scatter", Scatter},
                                                      {"submanifold_conv3d", SubmanifoldConv3d},
                                                      {"sparse_conv3d", SparseConv3d},
                                                      {"add", Add},
                                                      {"to_dense", ToDense},
                                                      {"conv2d", Conv2d},
                                                      {"conv_transpose2d", ConvTranspose2d},
                                                      {"concat", Concat},
                                                      {"channels_last", ChannelsLast}};

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

  GraphWeight Weight(const Json& node, const char* role) const {
    if (!node.contains(role)) return {};
    const auto name = node.at(role).get<std::string>();
    const SafeTensor& tensor = weights_.at(name);
    Require(tensor.dtype == "F32", name + " is not F32");
    GraphWeight weight{.shape = tensor.shape, .values = std::vector<float>(tensor.bytes.size() / sizeof(float))};
    std::memcpy(weight.values.data(), tensor.bytes.data(), tensor.bytes.size());
    return weight;
  }

  GraphValue RunNode(const Json& node) const {
    const auto operation = kOperations.find(node.at("op").get<std::string>());
    Require(operation != kOperations.end(), "unknown op " + node.at("op").get<std::string>());
    GraphCall call{.node = node, .weight = Weight(node, "weight"), .bias = Weight(node, "bias")};
    for (const Json& name : node.at("inputs")) call.inputs.push_back(&In(name.get<std::string>()));
    return operation->second(call);
  }

  Json graph_;
  std::map<std::string, SafeTensor> weights_;
  std::map<std::string, GraphValue> values_;
  std::map<std::string, int64_t> counts_;
};

}  // namespace

void Require(bool condition, const std::string& problem) {
  if (!condition) throw std::runtime_error("graph: " + problem);
}

int64_t Count(const Extents& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

GraphValue Zeros(const GraphCall& call) {
  GraphValue out{.shape = call.node.at("output").at("shape").get<Extents>()};
  out.data.assign(static_cast<size_t>(Count(out.shape)), 0);
  return out;
}

std::map<std::string, GraphValue> RunGraph(const std::string& folder, std::map<std::string, GraphValue> inputs) {
  return Interpreter(folder, std::move(inputs)).Run();
}

}  // namespace kd
