// Runs a graph of docs/graph-format.md as that page reads, with plain loops and nothing of ops/ or LibTorch. Tests
// only.
#ifndef KD_TESTS_GRAPH_INTERPRETER_H_
#define KD_TESTS_GRAPH_INTERPRETER_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace kd {

struct GraphValue {
  std::vector<int64_t> shape;
  // Row-major; integers, too.
  std::vector<double> data;
  // Of sparse values, one (z, y, x) a row.
  std::vector<std::array<int64_t, 3>> sites;
};

// Outputs by name. `folder` holds graph.json and weights.safetensors; inputs are voxels, num_points and coords.
// Throws std::runtime_error or the JSON library's error for what the page does not allow.
std::map<std::string, GraphValue> RunGraph(const std::string& folder, std::map<std::string, GraphValue> inputs);

}  // namespace kd

#endif  // KD_TESTS_GRAPH_INTERPRETER_H_
