// What an exported network does not say about itself: how points become its inputs and its outputs boxes. No torch.
#ifndef KD_CORE_EXPORT_FACTS_H_
#define KD_CORE_EXPORT_FACTS_H_

#include "core/network_graph.h"
#include "kd/v1/detector.pb.h"
#include "kd/v1/job.pb.h"
#include "nlohmann/json.hpp"

namespace kd {

// Keys are those of the manifest (docs/graph-format.md). `pair` may be null: what the points' columns mean is unknown
// then.
nlohmann::ordered_json ExportFacts(const v1::Detector& detector, const NetworkGraph& graph, const v1::Pair* pair);

// A tensor of the graph: name, dtype, shape (names for what is counted)[, grid].
nlohmann::ordered_json TensorJson(const GraphTensor& tensor);

}  // namespace kd

#endif  // KD_CORE_EXPORT_FACTS_H_
