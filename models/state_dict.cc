#include <algorithm>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/digest.h"
#include "base/status.h"
#include "core/detector_config.h"
#include "google/protobuf/util/json_util.h"
#include "models/detector.h"

namespace kd {
namespace {

struct TypeName {
  torch::ScalarType type;
  const char* name;
};
constexpr TypeName kTypes[] = {{torch::kFloat32, "F32"},   {torch::kFloat64, "F64"}, {torch::kFloat16, "F16"},
                               {torch::kBFloat16, "BF16"}, {torch::kInt64, "I64"},   {torch::kInt32, "I32"},
                               {torch::kInt8, "I8"},       {torch::kUInt8, "U8"},    {torch::kBool, "BOOL"}};

// Null for types that no module here has.
const TypeName* FindType(absl::string_view dtype) {
  const auto found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeName& entry) { return dtype == entry.name; });
  return found == std::end(kTypes) ? nullptr : found;
}

void AppendState(torch::nn::Module& module, const std::string& prefix,
                 std::vector<std::pair<std::string, torch::Tensor>>& state) {
  for (const auto& item : module.named_parameters(/*recurse=*/false))
    state.emplace_back(prefix + item.key(), item.value());
  for (const auto& item : module.named_buffers(/*recurse=*/false))
    state.emplace_back(prefix + item.key(), item.value());
  for (const auto& child : module.named_children())
    AppendState(*child.value(), absl::StrCat(prefix, child.key(), "."), state);
}

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

}  // namespace

std::vector<std::pair<std::string, torch::Tensor>> StateOf(torch::nn::Module& module) {
  std::vector<std::pair<std::string, torch::Tensor>> state;
  AppendState(module, "", state);
  return state;
}

torch::Tensor ToTorch(const SafeTensor& tensor) {
  const TypeName* const type = FindType(tensor.dtype);
  torch::Tensor result = torch::zeros(tensor.shape, type == nullptr ? torch::kFloat32 : type->type);
  std::memcpy(result.data_ptr(), tensor.bytes.data(), std::min<size_t>(tensor.bytes.size(), result.nbytes()));
  return result;
}

SafeTensor FromTorch(const torch::Tensor& tensor) {
  const torch::Tensor dense = tensor.detach().cpu().contiguous();
  SafeTensor result;
  for (const TypeName& entry : kTypes) {
    if (dense.scalar_type() == entry.type) result.dtype = entry.name;
  }
  result.shape = dense.sizes().vec();
  result.bytes.assign(static_cast<const char*>(dense.data_ptr()), dense.nbytes());
  return result;
}

SafeTensorsFile StateDict(torch::nn::Module& module) {
  SafeTensorsFile file;
  for (const auto& [name, tensor] : StateOf(module)) file.tensors[name] = FromTorch(tensor);
  return file;
}

std::string SaveWeights(DetectorModelImpl& module) {
  SafeTensorsFile file = StateDict(module);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  (void)google::protobuf::util::MessageToJsonString(module.config(), &json, options);
  file.metadata[kWeightsDetectorKey] = json;
  return SerializeSafeTensors(file);
}

absl::Status FitsStateDict(const SafeTensorsFile& file, torch::nn::Module& module) {
  std::vector<std::string> problems;
  const auto state = StateOf(module);
  size_t matched = 0;
  for (const auto& [name, tensor] : state) {
    const auto found = file.tensors.find(name);
    if (found == file.tensors.end()) {
      problems.push_back(absl::StrCat("missing ", name));
      continue;
    }
    ++matched;
    const TypeName* const type = FindType(found->second.dtype);
    if (type == nullptr || at::isFloatingType(type->type) != at::isFloatingType(tensor.scalar_type())) {
      problems.push_back(absl::StrCat(name, " has numbers of type ", found->second.dtype));
    }
    if (found->second.shape != tensor.sizes().vec()) {
      problems.push_back(absl::StrCat(name, " has shape ", ShapeText(found->second.shape), ", expected ",
                                      ShapeText(tensor.sizes().vec())));
    }
  }
  if (matched < file.tensors.size()) {
    for (const auto& [name, tensor] : file.tensors) {
      const bool known =
          std::any_of(state.begin(), state.end(), [&](const auto& entry) { return entry.first == name; });
      if (!known) problems.push_back(absl::StrCat("unexpected ", absl::CHexEscape(name.substr(0, 80))));
    }
  }
  if (!problems.empty()) {
    const size_t shown = std::min<size_t>(problems.size(), 4);
    return absl::InvalidArgumentError(
        absl::StrCat(problems.size(), " tensors do not fit the detector: ",
                     absl::StrJoin(problems.begin(), problems.begin() + static_cast<long>(shown), "; "),
                     shown < problems.size() ? "; ..." : ""));
  }
  return absl::OkStatus();
}

absl::Status LoadStateDict(const SafeTensorsFile& file, torch::nn::Module& module) {
  KD_RETURN_IF_ERROR(FitsStateDict(file, module));
  torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : StateOf(module)) {
    torch::Tensor target = tensor;
    target.copy_(ToTorch(file.tensors.at(name)));
  }
  return absl::OkStatus();
}

absl::StatusOr<LoadedDetector> LoadDetector(absl::string_view safetensors_bytes) {
  KD_ASSIGN_OR_RETURN(const SafeTensorsFile file, ParseSafeTensors(safetensors_bytes));
  KD_ASSIGN_OR_RETURN(const v1::Detector detector, DetectorOf(file));
  LoadedDetector loaded{.module = DetectorModel(detector), .digest = Sha256Digest(safetensors_bytes)};
  KD_RETURN_IF_ERROR(LoadStateDict(file, *loaded.module));
  loaded.module->eval();
  return loaded;
}

}  // namespace kd
