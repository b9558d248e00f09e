// Weights out of files that torch.save or torch.jit.save wrote, and into one that torch.load reads. No torch, and
// nothing of a file is ever executed.
#ifndef KD_CORE_TORCH_CHECKPOINT_H_
#define KD_CORE_TORCH_CHECKPOINT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/safetensors.h"

namespace kd {

struct TorchCheckpoint {
  SafeTensorsFile weights;
  // Where they stood: "model_state", "state_dict", "TorchScript", or empty for a dictionary of tensors.
  std::string section;
  // Entries beside the weights, such as "optimizer_state"; their tensors are not read.
  std::vector<std::string> skipped;
};

// A zip archive of torch.save or torch.jit.save, or a file of torch.save before 1.6 (core/legacy_torch_file.h): the
// tensors of `model_state`, `state_dict` or of the dictionary itself, or a TorchScript module's parameters and buffers
// under their dotted names. "module." before all names is removed; views, strides and shared storages become dense
// tensors. INVALID_ARGUMENT: a pickle that asks to call anything but what rebuilds tensors (quoted), no tensors, sizes
// that do not fit together, a storage that is cut or fails its checksum. Memory is taken only for sizes that were
// checked against the file; all tensors together may have four times the file's bytes.
absl::StatusOr<TorchCheckpoint> ParseTorchCheckpoint(absl::string_view bytes);

// The same, or a safetensors file: told apart by the first bytes.
absl::StatusOr<TorchCheckpoint> ParseWeights(absl::string_view bytes);

// What torch.load (also with weights_only=True) reads as {"model_state": {name: tensor}}, OpenPCDet's form of a
// checkpoint. INVALID_ARGUMENT: a number type that torch has not. Metadata is lost.
absl::StatusOr<std::string> SerializeTorchCheckpoint(const SafeTensorsFile& file);

}  // namespace kd

#endif  // KD_CORE_TORCH_CHECKPOINT_H_
