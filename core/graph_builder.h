// Puts a network graph together, node by node, with the weights that its layers name. No torch.
#ifndef KD_CORE_GRAPH_BUILDER_H_
#define KD_CORE_GRAPH_BUILDER_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/folded_weights.h"
#include "core/network_graph.h"
#include "core/safetensors.h"
#include "kd/v1/detector.pb.h"

namespace kd {

// A convolution on maps and the batch norm behind it.
struct MapLayer {
  // Names in the weights file; `norm` is empty where there is none.
  std::string conv, norm;
  int64_t out = 0, kernel = 3, stride = 1, padding = 1;
  bool bias = false;
  double norm_eps = 0;
};

// Every function that adds returns the name of what it added last. A part that does not fit is remembered (Fail) and
// the rest still built: the first problem counts.
class GraphBuilder {
 public:
  // Adds the inputs. `detector` is valid; both outlive this.
  GraphBuilder(const v1::Detector& detector, const SafeTensorsFile& file);

  const v1::Detector& detector() const { return detector_; }
  // Along x, y, z.
  const std::array<int, 3>& cells() const { return cells_; }

  // `name` is an input or was added. Valid until something is added.
  const GraphTensor& At(absl::string_view name) const { return *graph_.Find(name); }

  // One row a voxel; the first extent of `shape` is -1.
  static GraphTensor Rows(const std::string& name, std::vector<int64_t> shape);

  std::string Push(GraphNode node);

  // Takes the weights of `node` from the file, where its layer is called `name`.
  void FoldInto(GraphNode& node, const std::string& name, FoldableLayer layer);

  // With a rectifier where there is a norm.
  std::string AddConv2d(const std::string& x, const MapLayer& layer, const std::string& name);
  // With norm and rectifier; `kernel` is `stride`.
  std::string AddConvTranspose2d(const std::string& x, const MapLayer& layer, const std::string& name);

  void AddOutput(std::string name) { graph_.outputs.push_back(std::move(name)); }

  void Fail(absl::string_view problem);
  // INVALID_ARGUMENT with the first Fail.
  const absl::Status& status() const { return status_; }

  // The graph, once. INVALID_ARGUMENT: a Fail, or tensors of the file that do not fit (FoldedWeights::Check).
  absl::StatusOr<NetworkGraph> Finish();

 private:
  const v1::Detector& detector_;
  FoldedWeights weights_;
  const std::array<int, 3> cells_;
  NetworkGraph graph_;
  absl::Status status_;
};

}  // namespace kd

#endif  // KD_CORE_GRAPH_BUILDER_H_
