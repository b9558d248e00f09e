#include "core/torch_pickle.h"

#include <algorithm>
#include <iterator>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace kd {
namespace {

using Kind = PickleNode::Kind;

constexpr size_t kMaxKey = 1000;

// Storage classes of torch and the number types of safetensors.
struct StorageType {
  absl::string_view storage, dtype;
};
constexpr StorageType kStorageTypes[] = {{"FloatStorage", "F32"},     {"DoubleStorage", "F64"}, {"HalfStorage", "F16"},
                                         {"BFloat16Storage", "BF16"}, {"LongStorage", "I64"},   {"IntStorage", "I32"},
                                         {"ShortStorage", "I16"},     {"CharStorage", "I8"},    {"ByteStorage", "U8"},
                                         {"BoolStorage", "BOOL"}};

// What checkpoints of training programs name; only the tensors' own are looked at, the rest lies beside the weights.
constexpr absl::string_view kGlobals[] = {"__builtin__.bytearray",
                                          "__builtin__.complex",
                                          "__builtin__.dict",
                                          "__builtin__.frozenset",
                                          "__builtin__.list",
                                          "__builtin__.set",
                                          "_codecs.encode",
                                          "argparse.Namespace",
                                          "builtins.bytearray",
                                          "builtins.complex",
                                          "builtins.dict",
                                          "builtins.frozenset",
                                          "builtins.list",
                                          "builtins.set",
                                          "collections.Counter",
                                          "collections.OrderedDict",
                                          "collections.defaultdict",
                                          "numpy._core.multiarray._reconstruct",
                                          "numpy._core.multiarray.scalar",
                                          "numpy.core.multiarray._reconstruct",
                                          "numpy.core.multiarray.scalar",
                                          "numpy.dtype",
                                          "numpy.ndarray",
                                          "torch.Size",
                                          "torch._utils._rebuild_parameter",
                                          "torch._utils._rebuild_parameter_with_state",
                                          "torch._utils._rebuild_tensor",
                                          "torch._utils._rebuild_tensor_v2",
                                          "torch.bfloat16",
                                          "torch.bool",
                                          "torch.device",
                                          "torch.float16",
                                          "torch.float32",
                                          "torch.float64",
                                          "torch.int16",
                                          "torch.int32",
                                          "torch.int64",
                                          "torch.int8",
                                          "torch.serialization._get_layout",
                                          "torch.torch_version.TorchVersion",
                                          "torch.uint8"};

absl::string_view StorageDtype(absl::string_view global) {
  if (!absl::ConsumePrefix(&global, "torch.")) return "";
  for (const StorageType& type : kStorageTypes) {
    if (type.storage == global) return type.dtype;
  }
  return "";
}

}  // namespace

bool TorchMayName(absl::string_view global) {
  return std::find(std::begin(kGlobals), std::end(kGlobals), global) != std::end(kGlobals) ||
         !StorageDtype(global).empty() || absl::StartsWith(global, kTorchScriptClass) ||
         absl::StartsWith(global, "torch.jit._pickle.");
}

absl::string_view StorageClassOf(absl::string_view dtype) {
  for (const StorageType& type : kStorageTypes) {
    if (type.dtype == dtype) return type.storage;
  }
  return "";
}

std::optional<TorchStorage> ReadTorchStorage(const PickleTree& tree, const PickleNode& node) {
  if (node.kind != Kind::kPersistent) return std::nullopt;
  const PickleNode& tuple = tree.nodes[node.items[0]];
  const std::vector<uint32_t>& id = tuple.items;
  if (tuple.kind != Kind::kSequence || id.size() < 5) return std::nullopt;
  const PickleNode &tag = tree.nodes[id[0]], &type = tree.nodes[id[1]], &key = tree.nodes[id[2]],
                   &elements = tree.nodes[id[4]];
  if (tag.kind != Kind::kText || tag.text != "storage" || type.kind != Kind::kGlobal || key.kind != Kind::kText ||
      key.text.size() > kMaxKey || elements.kind != Kind::kInteger || elements.number < 0) {
    return std::nullopt;
  }
  // A part of another storage, as torch before 0.4 had them.
  if (id.size() > 5 && tree.nodes[id[5]].kind != Kind::kOther) return std::nullopt;
  const absl::string_view dtype = StorageDtype(type.text);
  if (dtype.empty()) return std::nullopt;
  return TorchStorage{.key = key.text, .dtype = std::string(dtype), .elements = static_cast<uint64_t>(elements.number)};
}

}  // namespace kd
