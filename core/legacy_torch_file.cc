#include "core/legacy_torch_file.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/text.h"
#include "core/safetensors.h"
#include "core/torch_pickle.h"

namespace kd {
namespace {

using Kind = PickleNode::Kind;
using Descriptions = std::map<std::string, TorchStorage, std::less<>>;

// As pickled with protocol 2, which torch.save uses.
constexpr absl::string_view kMagic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
constexpr int64_t kVersion = 1001;

absl::Status Bad(absl::string_view problem) { return absl::InvalidArgumentError(problem); }

class LegacyReader {
 public:
  explicit LegacyReader(absl::string_view bytes) : bytes_(bytes), at_(kMagic.size()) {}

  absl::StatusOr<LegacyTorchFile> Read() {
    KD_RETURN_IF_ERROR(CheckVersion());
    KD_RETURN_IF_ERROR(TakePickle("system").status());
    LegacyTorchFile file;
    KD_ASSIGN_OR_RETURN(file.object, TakePickle("object"));
    KD_ASSIGN_OR_RETURN(const Descriptions described, Describe(file.object));
    KD_ASSIGN_OR_RETURN(const PickleTree keys, TakePickle("list of storages"));
    const PickleNode& list = keys.nodes[keys.root];
    if (list.kind != Kind::kSequence) return Bad("its list of storages is no list");
    for (const uint32_t item : list.items) {
      const PickleNode& key = keys.nodes[item];
      if (key.kind != Kind::kText) return Bad("its list of storages has an entry that is no text");
      const auto found = described.find(key.text);
      if (found == described.end())
        return Bad(absl::StrCat("its list has a storage ", Quoted(key.text), " that its object does not describe"));
      absl::string_view storage;
      KD_RETURN_IF_ERROR(TakeStorage(found->second, &storage));
      if (!file.storages.emplace(key.text, storage).second)
        return Bad(absl::StrCat("its list has storage ", Quoted(key.text), " twice"));
    }
    if (at_ != bytes_.size())
      return Bad(absl::StrCat(bytes_.size() - at_, " bytes stand after its last storage, which ends at byte ", at_));
    return file;
  }

 private:
  absl::StatusOr<PickleTree> TakePickle(absl::string_view what) {
    absl::StatusOr<PickleTree> tree = ParsePickle(bytes_.substr(at_, kMaxTorchPickleBytes), TorchMayName);
    if (!tree.ok()) {
      return Bad(absl::StrCat("its ", what, ", a pickle of at most ", kMaxTorchPickleBytes, " bytes from byte ", at_,
                              " on: ", tree.status().message(), "; ", kSaveWeightsOnly));
    }
    at_ += tree->bytes;
    return tree;
  }

  absl::Status CheckVersion() {
    KD_ASSIGN_OR_RETURN(const PickleTree version, TakePickle("version"));
    const PickleNode& number = version.nodes[version.root];
    if (number.kind == Kind::kInteger && number.number == kVersion) return absl::OkStatus();
    return Bad(absl::StrCat("its version is not ", kVersion, ", the only one there was before torch 1.6"));
  }

  // The storages that any part of the object refers to, those of the optimiser as well.
  static absl::StatusOr<Descriptions> Describe(const PickleTree& object) {
    Descriptions described;
    for (const PickleNode& node : object.nodes) {
      std::optional<TorchStorage> storage = ReadTorchStorage(object, node);
      if (!storage.has_value()) continue;
      const auto [same, first] = described.emplace(storage->key, *storage);
      if (!first && (same->second.dtype != storage->dtype || same->second.elements != storage->elements))
        return Bad(absl::StrCat("its object describes storage ", Quoted(storage->key), " in two ways"));
    }
    return described;
  }

  absl::Status TakeStorage(const TorchStorage& described, absl::string_view* storage) {
    const std::string name = absl::StrCat("storage ", Quoted(described.key), " at byte ", at_);
    uint64_t count;
    if (bytes_.size() - at_ < sizeof(count)) return Bad(absl::StrCat(name, ": the file ends before its count"));
    std::memcpy(&count, bytes_.data() + at_, sizeof(count));
    at_ += sizeof(count);
    if (count != described.elements) {
      return Bad(absl::StrCat(name, " has a count of ", static_cast<int64_t>(count), ", its object says ",
                              described.elements));
    }
    const uint64_t element_size = static_cast<uint64_t>(SafeTensorElementSize(described.dtype));
    if (count > (bytes_.size() - at_) / element_size) {
      return Bad(absl::StrCat(name, ": ", count, " numbers of ", element_size, " bytes expected, the file ends after ",
                              bytes_.size() - at_, " bytes"));
    }
    *storage = bytes_.substr(at_, count * element_size);
    at_ += storage->size();
    return absl::OkStatus();
  }

  const absl::string_view bytes_;
  size_t at_;
};

}  // namespace

bool IsLegacyTorchFile(absl::string_view bytes) { return absl::StartsWith(bytes, kMagic); }

absl::StatusOr<LegacyTorchFile> ParseLegacyTorchFile(absl::string_view bytes) {
  if (!IsLegacyTorchFile(bytes)) return Bad("it does not begin as torch.save's files before 1.6");
  return LegacyReader(bytes).Read();
}

}  // namespace kd
