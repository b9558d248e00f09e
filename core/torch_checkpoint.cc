#include "core/torch_checkpoint.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/text.h"
#include "core/legacy_torch_file.h"
#include "core/pickle_tree.h"
#include "core/torch_pickle.h"
#include "core/zip_archive.h"

namespace kd {
namespace {

using Kind = PickleNode::Kind;

constexpr absl::string_view kZipMagic = "PK\x03\x04";

constexpr size_t kMaxName = 1000;
constexpr size_t kMaxDimensions = 64;
constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxModules = 100'000, kMaxAttributes = 5'000'000;
constexpr size_t kMaxSkipped = 1000;
constexpr size_t kShownName = 80;
constexpr uint64_t kLargestGrowth = 4, kSmallFile = uint64_t{1} << 20;

absl::Status Bad(absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("not a checkpoint of torch: ", problem));
}

// A tensor as the pickle describes it, checked but for its storage's bytes.
struct TensorView {
  std::string name;
  TorchStorage storage;
  uint64_t offset = 0, elements = 0;
  std::vector<int64_t> shape, strides;
};

// Product of the extents, or none where it overflows.
std::optional<uint64_t> Elements(const std::vector<int64_t>& shape) {
  uint64_t product = 1;
  bool empty = false;
  for (const int64_t extent : shape) {
    if (extent == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(product, static_cast<uint64_t>(extent), &product)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : product;
}

// The bytes of the storage with a key, as many as asked for.
using ReadStorage = absl::FunctionRef<absl::StatusOr<std::string>(const std::string& key, uint64_t bytes)>;

class CheckpointReader {
 public:
  CheckpointReader(PickleTree tree, ReadStorage read_storage, uint64_t file_bytes)
      : tree_(std::move(tree)),
        read_storage_(read_storage),
        bytes_left_(std::max(file_bytes * kLargestGrowth, kSmallFile)) {}

  absl::StatusOr<TorchCheckpoint> Read() {
    const PickleNode& top = tree_.nodes[tree_.root];
    if (absl::StartsWith(Callee(top), kTorchScriptClass)) {
      KD_RETURN_IF_ERROR(FindInModules());
    } else {
      KD_RETURN_IF_ERROR(FindInDictionaries(top));
    }
    if (views_.empty())
      return Bad(absl::StrCat("no tensors among its entries ", Listed(result_.skipped), "; ", kSaveWeightsOnly));
    StripModule();
    KD_RETURN_IF_ERROR(ReadStorages());
    return std::move(result_);
  }

 private:
  // Whom a call calls; empty for anything else.
  absl::string_view Callee(const PickleNode& node) const {
    return node.kind == Kind::kCall ? absl::string_view(tree_.nodes[node.items[0]].text) : "";
  }

  bool IsDictionary(const PickleNode& node) const {
    return node.kind == Kind::kDict || Callee(node) == "collections.OrderedDict";
  }

  bool IsTensor(const PickleNode& node) const { return absl::StartsWith(Callee(node), "torch._utils._rebuild_"); }

  static std::string Listed(const std::vector<std::string>& names) {
    const size_t shown = std::min<size_t>(names.size(), 6);
    return names.empty() ? "(it has none)"
                         : absl::StrCat(absl::StrJoin(names.begin(), names.begin() + static_cast<long>(shown), ", ",
                                                      [](std::string* out, const std::string& name) {
                                                        absl::StrAppend(out, Quoted(name));
                                                      }),
                                        shown < names.size() ? ", ..." : "");
  }

  // A few bytes of a pickle can repeat a long name.
  void Skip(const PickleNode& name) {
    if (result_.skipped.size() < kMaxSkipped)
      result_.skipped.push_back(name.kind == Kind::kText ? Shorten(name.text, kShownName) : "(no text)");
  }

  // Takes the tensors of a dictionary; everything else is skipped.
  absl::Status TakeDictionary(const PickleNode& dictionary) {
    for (const auto& [key, value] : dictionary.entries) {
      const PickleNode& name = tree_.nodes[key];
      if (name.kind != Kind::kText || !IsTensor(tree_.nodes[value])) {
        Skip(name);
        continue;
      }
      KD_RETURN_IF_ERROR(TakeTensor(name.text, tree_.nodes[value]));
    }
    return absl::OkStatus();
  }

  absl::Status FindInDictionaries(const PickleNode& top) {
    if (!IsDictionary(top)) {
      return Bad(absl::StrCat("it holds ",
                              IsTensor(top)         ? "a single tensor"
                              : Callee(top).empty() ? "no dictionary"
                                                    : Quoted(Callee(top)),
                              " instead of a dictionary of tensors; ", kSaveWeightsOnly));
    }
    for (const absl::string_view section : {"model_state", "state_dict"}) {
      for (const auto& [key, value] : top.entries) {
        if (tree_.nodes[key].kind != Kind::kText || tree_.nodes[key].text != section ||
            !IsDictionary(tree_.nodes[value]))
          continue;
        result_.section = std::string(section);
        KD_RETURN_IF_ERROR(TakeDictionary(tree_.nodes[value]));
        for (const auto& [other, ignored] : top.entries) {
          if (tree_.nodes[other].text != section) Skip(tree_.nodes[other]);
        }
        return absl::OkStatus();
      }
    }
    return TakeDictionary(top);
  }

  // TorchScript: objects whose state is a dictionary of attributes. A module may have several names; a cycle, or a
  // lattice of modules that has too many, ends at a bound.
  absl::Status FindInModules() {
    result_.section = "TorchScript";
    struct Module {
      uint32_t node;
      std::string prefix;
    };
    std::vector<Module> left = {{tree_.root, ""}};
    size_t modules = 0, attributes = 0;
    while (!left.empty()) {
      const Module module = std::move(left.back());
      left.pop_back();
      for (const auto& [key, value] : tree_.nodes[tree_.nodes[module.node].state].entries) {
        if (++attributes > kMaxAttributes)
          return Bad(absl::StrCat("TorchScript with more than ", kMaxAttributes, " attributes"));
        const PickleNode& child = tree_.nodes[value];
        if (tree_.nodes[key].kind != Kind::kText) continue;
        if (module.prefix.size() + tree_.nodes[key].text.size() > kMaxName)
          return Bad("TorchScript nested too deeply, or names too long");
        const std::string name = absl::StrCat(module.prefix, tree_.nodes[key].text);
        if (IsTensor(child)) {
          KD_RETURN_IF_ERROR(TakeTensor(name, child));
        } else if (absl::StartsWith(Callee(child), kTorchScriptClass)) {
          left.push_back({value, absl::StrCat(name, ".")});
          if (++modules > kMaxModules) return Bad(absl::StrCat("TorchScript with more than ", kMaxModules, " modules"));
        }
      }
    }
    return absl::OkStatus();
  }

  absl::Status TakeTensor(absl::string_view name, const PickleNode& node) {
    const auto bad = [name](absl::string_view problem) {
      return Bad(absl::StrCat("tensor ", Quoted(name), ": ", problem));
    };
    if (name.size() > kMaxName) return bad("its name is too long");
    if (!std::all_of(name.begin(), name.end(), absl::ascii_isprint)) return bad("its name is not printable ASCII");
    if (!names_.emplace(name).second) return bad("appears twice");
    if (names_.size() > kMaxTensors) return Bad(absl::StrCat("more than ", kMaxTensors, " tensors"));
    const PickleNode* call = &node;
    // A parameter is a tensor in wrapping.
    for (int wraps = 0; wraps < 2 && absl::StartsWith(Callee(*call), "torch._utils._rebuild_parameter"); ++wraps) {
      const PickleNode& arguments = tree_.nodes[call->items[1]];
      if (arguments.items.empty()) return bad("a parameter of nothing");
      call = &tree_.nodes[arguments.items[0]];
    }
    if (!absl::StartsWith(Callee(*call), "torch._utils._rebuild_tensor")) return bad("no tensor where one is expected");
    const std::vector<uint32_t>& arguments = tree_.nodes[call->items[1]].items;
    if (arguments.size() < 4) return bad("storage, offset, shape and strides expected");
    TensorView view{.name = std::string(name)};
    std::optional<TorchStorage> storage = ReadTorchStorage(tree_, tree_.nodes[arguments[0]]);
    if (!storage.has_value()) return bad("its storage is described in an unknown way");
    view.storage = *std::move(storage);
    const PickleNode& offset = tree_.nodes[arguments[1]];
    if (offset.kind != Kind::kInteger || offset.number < 0) return bad("its offset is no size");
    view.offset = static_cast<uint64_t>(offset.number);
    if (!ReadSizes(tree_.nodes[arguments[2]], view.shape)) return bad("its shape is no list of sizes");
    if (!ReadSizes(tree_.nodes[arguments[3]], view.strides)) return bad("its strides are no list of sizes");
    if (view.shape.size() != view.strides.size()) return bad("shape and strides differ in length");
    if (!FitsStorage(view)) {
      return bad(absl::StrCat("shape [", absl::StrJoin(view.shape, ", "), "] with strides [",
                              absl::StrJoin(view.strides, ", "), "] at ", view.offset, " leaves its storage of ",
                              view.storage.elements, " numbers"));
    }
    uint64_t bytes;
    if (__builtin_mul_overflow(view.elements, static_cast<uint64_t>(SafeTensorElementSize(view.storage.dtype)),
                               &bytes) ||
        bytes > bytes_left_) {
      return bad(absl::StrCat("with it the tensors have more than ", kLargestGrowth, " times the bytes of the file"));
    }
    bytes_left_ -= bytes;
    views_.push_back(std::move(view));
    return absl::OkStatus();
  }

  // A tuple of integers, or torch.Size of one.
  bool ReadSizes(const PickleNode& node, std::vector<int64_t>& sizes) const {
    const PickleNode* tuple = &node;
    if (Callee(node) == "torch.Size" && tree_.nodes[node.items[1]].items.size() == 1)
      tuple = &tree_.nodes[tree_.nodes[node.items[1]].items[0]];
    if (tuple->kind != Kind::kSequence || tuple->items.size() > kMaxDimensions) return false;
    for (const uint32_t item : tuple->items) {
      if (tree_.nodes[item].kind != Kind::kInteger || tree_.nodes[item].number < 0) return false;
      sizes.push_back(tree_.nodes[item].number);
    }
    return true;
  }

  static bool FitsStorage(TensorView& view) {
    const std::optional<uint64_t> elements = Elements(view.shape);
    if (!elements.has_value()) return false;
    view.elements = *elements;
    if (view.elements == 0) return true;
    uint64_t last = view.offset;
    for (size_t d = 0; d < view.shape.size(); ++d) {
      uint64_t step;
      if (__builtin_mul_overflow(static_cast<uint64_t>(view.shape[d] - 1), static_cast<uint64_t>(view.strides[d]),
                                 &step) ||
          __builtin_add_overflow(last, step, &last)) {
        return false;
      }
    }
    return last < view.storage.elements;
  }

  // Data-parallel training puts "module." before every name.
  void StripModule() {
    constexpr absl::string_view kModule = "module.";
    if (!std::all_of(views_.begin(), views_.end(),
                     [&](const TensorView& view) { return absl::StartsWith(view.name, kModule); }))
      return;
    for (TensorView& view : views_) view.name.erase(0, kModule.size());
  }

  // One storage at a time, each read once.
  absl::Status ReadStorages() {
    std::sort(views_.begin(), views_.end(),
              [](const TensorView& a, const TensorView& b) { return a.storage.key < b.storage.key; });
    std::string storage;
    const TensorView* before = nullptr;
    for (const TensorView& view : views_) {
      const uint64_t element_size = static_cast<uint64_t>(SafeTensorElementSize(view.storage.dtype));
      if (before == nullptr || before->storage.key != view.storage.key) {
        uint64_t bytes;
        if (__builtin_mul_overflow(view.storage.elements, element_size, &bytes) || bytes > (uint64_t{1} << 62)) {
          return Bad(absl::StrCat("tensor ", Quoted(view.name), ": a storage of ", view.storage.elements, " numbers"));
        }
        absl::StatusOr<std::string> content = read_storage_(view.storage.key, bytes);
        if (!content.ok()) return Bad(absl::StrCat("tensor ", Quoted(view.name), ": ", content.status().message()));
        storage = *std::move(content);
      } else if (before->storage.dtype != view.storage.dtype || before->storage.elements != view.storage.elements) {
        return Bad(absl::StrCat("tensors ", Quoted(before->name), " and ", Quoted(view.name),
                                " describe one storage in two ways"));
      }
      before = &view;
      result_.weights.tensors[view.name] = {
          .dtype = view.storage.dtype, .shape = view.shape, .bytes = Gather(storage, view, element_size)};
    }
    return absl::OkStatus();
  }

  static std::string Gather(const std::string& storage, const TensorView& view, uint64_t element_size) {
    // Elements of the dense innermost dimensions stand together and are copied at once.
    size_t outer = view.shape.size();
    uint64_t run = 1;
    while (outer > 0 && (view.shape[outer - 1] == 1 || static_cast<uint64_t>(view.strides[outer - 1]) == run)) {
      run *= static_cast<uint64_t>(view.shape[--outer]);
    }
    std::string bytes;
    bytes.reserve(view.elements * element_size);
    std::vector<int64_t> index(outer, 0);
    for (uint64_t done = 0; done < view.elements; done += run) {
      uint64_t at = view.offset;
      for (size_t d = 0; d < outer; ++d) at += static_cast<uint64_t>(index[d] * view.strides[d]);
      bytes.append(storage, at * element_size, run * element_size);
      for (size_t d = outer; d-- > 0;) {
        if (++index[d] < view.shape[d]) break;
        index[d] = 0;
      }
    }
    return bytes;
  }

  const PickleTree tree_;
  const ReadStorage read_storage_;
  // Of tensors.
  uint64_t bytes_left_;
  std::vector<TensorView> views_;
  std::set<std::string, std::less<>> names_;
  TorchCheckpoint result_;
};

// "archive/" of "archive/data.pkl".
absl::StatusOr<std::string> FindRoot(const ZipArchive& archive) {
  std::vector<std::string> roots;
  for (const std::string& name : archive.Names()) {
    const size_t slash = name.find('/');
    if (slash != std::string::npos && absl::string_view(name).substr(slash + 1) == "data.pkl")
      roots.push_back(name.substr(0, slash + 1));
  }
  if (roots.size() != 1)
    return Bad(absl::StrCat("a zip archive with ", roots.size(), " entries FOLDER/data.pkl, expected 1"));
  return roots[0];
}

absl::StatusOr<TorchCheckpoint> ReadArchive(absl::string_view bytes) {
  absl::StatusOr<ZipArchive> archive = ZipArchive::Open(bytes);
  if (!archive.ok()) return Bad(archive.status().message());
  KD_ASSIGN_OR_RETURN(const std::string root, FindRoot(*archive));
  if (archive->Has(root + "byteorder")) {
    const absl::StatusOr<std::string> order = archive->Read(root + "byteorder");
    if (!order.ok()) return Bad(order.status().message());
    if (*order != "little") return Bad(absl::StrCat("its byte order is ", Quoted(*order), ", expected \"little\""));
  }
  const absl::StatusOr<std::string> pickle = archive->Read(root + "data.pkl");
  if (!pickle.ok()) return Bad(pickle.status().message());
  if (pickle->size() > kMaxTorchPickleBytes) {
    return Bad(absl::StrCat("data.pkl has ", pickle->size(), " bytes, more than ", kMaxTorchPickleBytes, "; ",
                            kSaveWeightsOnly));
  }
  absl::StatusOr<PickleTree> tree = ParsePickle(*pickle, TorchMayName);
  if (!tree.ok()) return Bad(absl::StrCat("data.pkl ", tree.status().message(), "; ", kSaveWeightsOnly));
  const auto read_storage = [&](const std::string& key, uint64_t size) {
    return archive->Read(absl::StrCat(root, "data/", key), static_cast<int64_t>(size));
  };
  return CheckpointReader(*std::move(tree), read_storage, bytes.size()).Read();
}

absl::StatusOr<TorchCheckpoint> ReadLegacy(absl::string_view bytes) {
  absl::StatusOr<LegacyTorchFile> file = ParseLegacyTorchFile(bytes);
  if (!file.ok()) return Bad(file.status().message());
  // A storage has the size that the object gives it, which was checked.
  const auto read_storage = [&](const std::string& key, uint64_t) -> absl::StatusOr<std::string> {
    const auto storage = file->storages.find(key);
    if (storage != file->storages.end()) return std::string(storage->second);
    return absl::InvalidArgumentError(absl::StrCat("its storage ", Quoted(key), " is not in the file"));
  };
  return CheckpointReader(std::move(file->object), read_storage, bytes.size()).Read();
}

// A pickle of torch.save's dialect, for what the writer needs of it.
class PickleWriter {
 public:
  void Global(absl::string_view module, absl::string_view name) {
    absl::StrAppend(&bytes_, "c", module, "\n", name, "\n");
  }
  void Text(absl::string_view text) {
    bytes_ += 'X';
    Raw(static_cast<uint32_t>(text.size()));
    absl::StrAppend(&bytes_, text);
  }
  void Integer(int64_t number) {
    bytes_ += "\x8a\x08";
    Raw(number);
  }
  void Integers(const std::vector<int64_t>& numbers) {
    Opcodes("(");
    for (const int64_t number : numbers) Integer(number);
    Opcodes("t");
  }
  void Opcodes(absl::string_view opcodes) { absl::StrAppend(&bytes_, opcodes); }

  const std::string& bytes() const { return bytes_; }

 private:
  template <typename T>
  void Raw(T number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  std::string bytes_;
};

}  // namespace

absl::StatusOr<TorchCheckpoint> ParseTorchCheckpoint(absl::string_view bytes) {
  if (IsLegacyTorchFile(bytes)) return ReadLegacy(bytes);
  if (!absl::StartsWith(bytes, kZipMagic)) return Bad("it begins neither as a zip archive nor as torch before 1.6 did");
  return ReadArchive(bytes);
}

absl::StatusOr<TorchCheckpoint> ParseWeights(absl::string_view bytes) {
  if (absl::StartsWith(bytes, kZipMagic) || IsLegacyTorchFile(bytes)) return ParseTorchCheckpoint(bytes);
  TorchCheckpoint result;
  KD_ASSIGN_OR_RETURN(result.weights, ParseSafeTensors(bytes));
  return result;
}

absl::StatusOr<std::string> SerializeTorchCheckpoint(const SafeTensorsFile& file) {
  PickleWriter pickle;
  std::vector<std::pair<std::string, std::string>> storages;
  pickle.Opcodes("\x80\x02}");
  pickle.Text("model_state");
  pickle.Global("collections", "OrderedDict");
  pickle.Opcodes(")R(");
  for (const auto& [name, tensor] : file.tensors) {
    const absl::string_view storage_class = StorageClassOf(tensor.dtype);
    if (storage_class.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(name), ": torch has no storage of ", tensor.dtype));
    }
    const std::string key = absl::StrCat(storages.size());
    std::vector<int64_t> strides(tensor.shape.size(), 1);
    for (size_t d = strides.size(); d-- > 1;) strides[d - 1] = strides[d] * std::max<int64_t>(tensor.shape[d], 1);
    pickle.Text(name);
    pickle.Global("torch._utils", "_rebuild_tensor_v2");
    pickle.Opcodes("((");
    pickle.Text("storage");
    pickle.Global("torch", storage_class);
    pickle.Text(key);
    pickle.Text("cpu");
    pickle.Integer(static_cast<int64_t>(tensor.bytes.size()) / SafeTensorElementSize(tensor.dtype));
    pickle.Opcodes("tQ");
    pickle.Integer(0);
    pickle.Integers(tensor.shape);
    pickle.Integers(strides);
    pickle.Opcodes("\x89");
    pickle.Global("collections", "OrderedDict");
    pickle.Opcodes(")RtR");
    storages.emplace_back(absl::StrCat("archive/data/", key), tensor.bytes);
  }
  pickle.Opcodes("us.");
  std::vector<std::pair<std::string, std::string>> entries = {{"archive/data.pkl", pickle.bytes()},
                                                              {"archive/byteorder", "little"}};
  std::move(storages.begin(), storages.end(), std::back_inserter(entries));
  entries.emplace_back("archive/version", "3\n");
  return WriteZip(entries);
}

}  // namespace kd
