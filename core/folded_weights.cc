#include "core/folded_weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/float16.h"

namespace kd {
namespace {

// Counts steps of training; evaluation has no use for it.
constexpr char kCounter[] = ".num_batches_tracked";

std::string ShapeText(const std::vector<int64_t>& shape) { return absl::StrCat("[", absl::StrJoin(shape, ", "), "]"); }

template <typename Stored, typename Convert>
std::vector<double> Numbers(const std::string& bytes, Convert convert) {
  std::vector<double> numbers(bytes.size() / sizeof(Stored));
  for (size_t i = 0; i < numbers.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    numbers[i] = static_cast<double>(convert(stored));
  }
  return numbers;
}

float FromBfloat16(uint16_t bits) { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }

bool IsFloating(const std::string& dtype) {
  return dtype == "F16" || dtype == "BF16" || dtype == "F32" || dtype == "F64";
}

std::vector<double> ToDoubles(const SafeTensor& tensor) {
  if (tensor.dtype == "F64") return Numbers<double>(tensor.bytes, [](double v) { return v; });
  if (tensor.dtype == "F32") return Numbers<float>(tensor.bytes, [](float v) { return v; });
  if (tensor.dtype == "F16") return Numbers<uint16_t>(tensor.bytes, HalfToFloat);
  return Numbers<uint16_t>(tensor.bytes, FromBfloat16);
}

}  // namespace

std::vector<double> FoldedWeights::Read(const std::string& name, const std::vector<int64_t>& shape) {
  const auto found = file_.tensors.find(name);
  if (found == file_.tensors.end()) {
    problems_.push_back(absl::StrCat("missing ", name));
    return {};
  }
  taken_.insert(name);
  const SafeTensor& tensor = found->second;
  if (tensor.shape != shape) {
    problems_.push_back(absl::StrCat(name, " has shape ", ShapeText(tensor.shape), ", expected ", ShapeText(shape)));
    return {};
  }
  if (!IsFloating(tensor.dtype)) {
    problems_.push_back(absl::StrCat(name, " has numbers of type ", tensor.dtype));
    return {};
  }
  return ToDoubles(tensor);
}

void FoldedWeights::Store(const std::string& name, const std::vector<int64_t>& shape,
                          const std::vector<double>& values) {
  SafeTensor& tensor = folded_[name];
  tensor.dtype = "F32";
  tensor.shape = shape;
  tensor.bytes.resize(values.size() * sizeof(float));
  bool finite = true;
  for (size_t i = 0; i < values.size(); ++i) {
    const auto value = static_cast<float>(values[i]);
    finite = finite && std::isfinite(value);
    std::memcpy(tensor.bytes.data() + i * sizeof(float), &value, sizeof(float));
  }
  if (!finite)
    problems_.push_back(absl::StrCat(name, " has numbers that are not finite, itself or with its batch norm"));
}

void FoldedWeights::Add(const FoldableLayer& layer, const std::string& bias_name) {
  const size_t outputs = static_cast<size_t>(layer.shape[layer.output_axis]);
  const std::vector<int64_t> per_output = {layer.shape[layer.output_axis]};
  std::vector<double> weight = Read(layer.weight, layer.shape);
  std::vector<double> bias;
  if (!layer.bias.empty()) bias = Read(layer.bias, per_output);
  bool fits = !weight.empty() && (layer.bias.empty() || !bias.empty());
  if (!layer.norm.empty()) {
    const std::vector<double> gamma = Read(layer.norm + ".weight", per_output),
                              beta = Read(layer.norm + ".bias", per_output),
                              mean = Read(layer.norm + ".running_mean", per_output),
                              variance = Read(layer.norm + ".running_var", per_output);
    taken_.insert(layer.norm + kCounter);
    fits = fits && !gamma.empty() && !beta.empty() && !mean.empty() && !variance.empty();
    if (fits) {
      bias.resize(outputs);
      size_t inner = 1;
      for (size_t axis = layer.output_axis + 1; axis < layer.shape.size(); ++axis)
        inner *= static_cast<size_t>(layer.shape[axis]);
      std::vector<double> scale(outputs);
      for (size_t c = 0; c < outputs; ++c) {
        scale[c] = gamma[c] / std::sqrt(variance[c] + layer.norm_eps);
        bias[c] = (bias[c] - mean[c]) * scale[c] + beta[c];
      }
      for (size_t i = 0; i < weight.size(); ++i) weight[i] *= scale[i / inner % outputs];
    }
  }
  if (!fits) return;
  Store(layer.weight, layer.shape, weight);
  if (!bias.empty()) Store(bias_name, per_output, bias);
}

absl::Status FoldedWeights::Check() const {
  std::vector<std::string> problems = problems_;
  for (const auto& [name, tensor] : file_.tensors) {
    if (taken_.count(name) == 0) problems.push_back(absl::StrCat("unexpected ", absl::CHexEscape(name.substr(0, 80))));
  }
  if (problems.empty()) return absl::OkStatus();
  const size_t shown = std::min<size_t>(problems.size(), 4);
  return absl::InvalidArgumentError(
      absl::StrCat(problems.size(), " tensors do not fit the detector: ",
                   absl::StrJoin(problems.begin(), problems.begin() + static_cast<long>(shown), "; "),
                   shown < problems.size() ? "; ..." : ""));
}

}  // namespace kd
