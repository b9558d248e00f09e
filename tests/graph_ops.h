// What the operations of docs/graph-format.md compute, with plain loops. Tests only.
#ifndef KD_TESTS_GRAPH_OPS_H_
#define KD_TESTS_GRAPH_OPS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/graph_interpreter.h"

namespace kd {

using Extents = std::vector<int64_t>;

struct GraphWeight {
  Extents shape;
  std::vector<float> values;
};

// A node with all that it reads.
struct GraphCall {
  const nlohmann::json& node;
  std::vector<const GraphValue*> inputs;
  // Empty where the node names none.
  GraphWeight weight, bias;

  const GraphValue& In(size_t i) const { return *inputs.at(i); }
  std::vector<float> Bias(int64_t outputs) const {
    return bias.values.empty() ? std::vector<float>(static_cast<size_t>(outputs)) : bias.values;
  }
};

// Throws std::runtime_error.
void Require(bool condition, const std::string& problem);

int64_t Count(const Extents& shape);

// Zero everywhere, with the shape that the file says.
GraphValue Zeros(const GraphCall& call);

// graph_ops_points.cc
GraphValue PillarPoints(const GraphCall& call);
GraphValue MeanPoints(const GraphCall& call);
GraphValue Linear(const GraphCall& call);
GraphValue MaxPoints(const GraphCall& call);
GraphValue AppendMax(const GraphCall& call);
GraphValue Scatter(const GraphCall& call);

// graph_ops_sparse.cc
GraphValue SubmanifoldConv3d(const GraphCall& call);
GraphValue SparseConv3d(const GraphCall& call);
GraphValue Add(const GraphCall& call);
GraphValue ToDense(const GraphCall& call);

// graph_ops_maps.cc
GraphValue Conv2d(const GraphCall& call);
GraphValue ConvTranspose2d(const GraphCall& call);
GraphValue Concat(const GraphCall& call);
GraphValue ChannelsLast(const GraphCall& call);

}  // namespace kd

#endif  // KD_TESTS_GRAPH_OPS_H_
