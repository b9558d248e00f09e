// What pickles of torch.save and torch.jit.save may name, and how they describe where a tensor's numbers lie.
#ifndef KD_CORE_TORCH_PICKLE_H_
#define KD_CORE_TORCH_PICKLE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "core/pickle_tree.h"

namespace kd {

// Classes of TorchScript's modules begin so.
inline constexpr absl::string_view kTorchScriptClass = "__torch__.";

// A pickle larger than this is refused: without tensors' numbers, those of checkpoints have some 100 kB.
inline constexpr size_t kMaxTorchPickleBytes = size_t{1} << 24;

// The way out where a pickle is refused.
inline constexpr char kSaveWeightsOnly[] =
    "save the weights alone, where you trust the file: torch.save({\"model_state\": model.state_dict()}, \"NEW.pth\")";

// For ParsePickle: whether checkpoints of training programs name this. Only what rebuilds tensors is looked at; the
// rest lies beside the weights.
bool TorchMayName(absl::string_view global);

// "FloatStorage" of "F32"; empty where torch has no storage for a number type of safetensors.
absl::string_view StorageClassOf(absl::string_view dtype);

// A run of numbers, which several tensors may share.
struct TorchStorage {
  std::string key;
  std::string dtype;  // as SafeTensor's
  uint64_t elements = 0;
};

// ("storage", torch.FloatStorage, key, place, elements[, None]); nothing for any other node.
std::optional<TorchStorage> ReadTorchStorage(const PickleTree& tree, const PickleNode& node);

}  // namespace kd

#endif  // KD_CORE_TORCH_PICKLE_H_
