// Adam with decoupled weight decay under a one-cycle schedule (detectors.md section 8, "adam_onecycle").
#ifndef KD_MODELS_ADAM_ONECYCLE_H_
#define KD_MODELS_ADAM_ONECYCLE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/safetensors.h"
#include "torch/torch.h"

namespace kd {

struct AdamOneCycleOptions {
  int64_t total_steps = 1;
  double lr = 3e-3;  // peak
  double weight_decay = 0.01;
  double div_factor = 10;
  double pct_start = 0.4;
  double high_momentum = 0.95, low_momentum = 0.85;
  double beta2 = 0.99;
  double eps = 1e-8;
};

// Learning rate and beta1 of step `step`, counted from 0: cosine lr / div_factor -> lr over the first
// trunc(pct_start * total_steps) steps, then cosine lr -> lr / div_factor / 1e4; beta1 mirrors it.
struct OneCyclePoint {
  double lr, momentum;
};
OneCyclePoint OneCycleAt(const AdamOneCycleOptions& options, int64_t step);

class AdamOneCycle {
 public:
  AdamOneCycle(std::vector<std::pair<std::string, torch::Tensor>> parameters, const AdamOneCycleOptions& options);

  // One step from the parameters' gradients; parameters without one are left alone. Weight decay reaches biases and
  // batch norms too. Bias correction uses the current beta1.
  void Step();
  void ZeroGrad();

  // Scales gradients so that their joint norm is at most `max_norm`; returns the norm before.
  double ClipGradients(double max_norm);

  int64_t step() const { return step_; }
  double learning_rate() const { return OneCycleAt(options_, step_).lr; }

  // Moments under "optimizer.<parameter>.m" and ".v"; the step is not part of it.
  void SaveTo(SafeTensorsFile& file) const;
  // INVALID_ARGUMENT: a moment is missing or has another shape; nothing is changed then.
  absl::Status LoadFrom(const SafeTensorsFile& file, int64_t step);

 private:
  struct Slot {
    std::string name;
    torch::Tensor parameter, m, v;
  };
  std::vector<Slot> slots_;
  const AdamOneCycleOptions options_;
  int64_t step_ = 0;
};

}  // namespace kd

#endif  // KD_MODELS_ADAM_ONECYCLE_H_
