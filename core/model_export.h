// Trained detectors for other runtimes: the network in their format, and a manifest with all that a program needs
// around it. No torch.
#ifndef KD_CORE_MODEL_EXPORT_H_
#define KD_CORE_MODEL_EXPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kd {

enum class ExportTarget {
  kOnnx,   // model.onnx; detectors on pillars
  kGraph,  // graph.json and weights.safetensors (docs/graph-format.md); every detector of one stage
};

// Names of all targets, such as "onnx".
std::vector<std::string> ExportTargetNames();

// INVALID_ARGUMENT with the known names.
absl::StatusOr<ExportTarget> ParseExportTarget(absl::string_view name);

struct ExportSource {
  // Of model.safetensors.
  std::string weights;
  // The complete pair.yaml of the job that trained them; empty: not known. It tells what the points' columns mean and
  // where the weights come from.
  std::string pair_yaml;
};

struct ExportFile {
  std::string name;
  std::string bytes;
};

// The target's files, and last manifest.json, which names their digests. What the manifest says of the model stands in
// the files themselves as well (metadata_props of ONNX, metadata of graph.json and weights.safetensors), so that model
// and settings cannot part. Equal sources give equal bytes. INVALID_ARGUMENT: not weights of a detector, tensors that
// do not fit it, a detector that the target cannot express, a pair.yaml that is none or that names other classes than
// the weights. Each says what to do.
absl::StatusOr<std::vector<ExportFile>> ExportModel(const ExportSource& source, ExportTarget target);

}  // namespace kd

#endif  // KD_CORE_MODEL_EXPORT_H_
