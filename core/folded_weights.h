// Layers of a weights file as exports want them: evaluation-mode batch norm multiplied into the weights in front of it.
#ifndef KD_CORE_FOLDED_WEIGHTS_H_
#define KD_CORE_FOLDED_WEIGHTS_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "core/safetensors.h"

namespace kd {

// A linear layer or convolution, and the batch norm behind it.
struct FoldableLayer {
  std::string weight;
  std::vector<int64_t> shape;
  // Axis of `shape` that runs over outputs.
  size_t output_axis = 0;
  // Names; empty: none. The norm's is what stands before ".running_mean".
  std::string bias, norm;
  double norm_eps = 0;
};

// Takes layers out of a file and remembers what did not fit, so that one message can list it.
class FoldedWeights {
 public:
  // `file` outlives this.
  explicit FoldedWeights(const SafeTensorsFile& file) : file_(file) {}

  // Adds the layer's weight under its own name and its bias, where there is a bias or a norm, under `bias_name`; both
  // F32.
  void Add(const FoldableLayer& layer, const std::string& bias_name);

  // INVALID_ARGUMENT: tensors that were missing, of another shape or dtype, not finite, or that no layer took; the
  // first of them are named.
  absl::Status Check() const;

  std::map<std::string, SafeTensor> Take() { return std::move(folded_); }

 private:
  // Empty where it does not fit.
  std::vector<double> Read(const std::string& name, const std::vector<int64_t>& shape);
  void Store(const std::string& name, const std::vector<int64_t>& shape, const std::vector<double>& values);

  const SafeTensorsFile& file_;
  std::set<std::string> taken_;
  std::vector<std::string> problems_;
  std::map<std::string, SafeTensor> folded_;
};

}  // namespace kd

#endif  // KD_CORE_FOLDED_WEIGHTS_H_
