#include "models/adam_onecycle.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "models/detector.h"

namespace kd {
namespace {

double Cosine(double from, double to, double fraction) {
  return to + (from - to) / 2 * (std::cos(M_PI * fraction) + 1);
}

}  // namespace

OneCyclePoint OneCycleAt(const AdamOneCycleOptions& o, int64_t step) {
  const auto rise = static_cast<int64_t>(o.pct_start * static_cast<double>(o.total_steps));
  const double low = o.lr / o.div_factor;
  if (step < rise) {
    const double fraction = static_cast<double>(step) / static_cast<double>(rise);
    return {Cosine(low, o.lr, fraction), Cosine(o.high_momentum, o.low_momentum, fraction)};
  }
  const double fraction =
      std::min(1.0, static_cast<double>(step - rise) / static_cast<double>(std::max<int64_t>(o.total_steps - rise, 1)));
  return {Cosine(o.lr, low / 1e4, fraction), Cosine(o.low_momentum, o.high_momentum, fraction)};
}

AdamOneCycle::AdamOneCycle(std::vector<std::pair<std::string, torch::Tensor>> parameters,
                           const AdamOneCycleOptions& options)
    : options_(options) {
  for (auto& [name, parameter] : parameters) {
    slots_.push_back(
        {.name = name, .parameter = parameter, .m = torch::zeros_like(parameter), .v = torch::zeros_like(parameter)});
  }
}

void AdamOneCycle::Step() {
  torch::NoGradGuard no_grad;
  const auto [lr, beta1] = OneCycleAt(options_, step_);
  const double correction1 = 1 - std::pow(beta1, static_cast<double>(step_ + 1));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(step_ + 1));
  for (Slot& slot : slots_) {
    const torch::Tensor gradient = slot.parameter.grad();
    if (!gradient.defined()) continue;
    slot.parameter.mul_(1 - lr * options_.weight_decay);
    slot.m.mul_(beta1).add_(gradient, 1 - beta1);
    slot.v.mul_(options_.beta2).addcmul_(gradient, gradient, 1 - options_.beta2);
    const torch::Tensor denominator = (slot.v.sqrt() / std::sqrt(correction2)).add_(options_.eps);
    slot.parameter.addcdiv_(slot.m, denominator, -lr / correction1);
  }
  ++step_;
}

void AdamOneCycle::ZeroGrad() {
  for (Slot& slot : slots_) slot.parameter.mutable_grad() = torch::Tensor();
}

double AdamOneCycle::ClipGradients(double max_norm) {
  std::vector<torch::Tensor> parameters;
  for (const Slot& slot : slots_) {
    if (slot.parameter.grad().defined()) parameters.push_back(slot.parameter);
  }
  return torch::nn::utils::clip_grad_norm_(parameters, max_norm);
}

void AdamOneCycle::SaveTo(SafeTensorsFile& file) const {
  for (const Slot& slot : slots_) {
    file.tensors[absl::StrCat("optimizer.", slot.name, ".m")] = FromTorch(slot.m);
    file.tensors[absl::StrCat("optimizer.", slot.name, ".v")] = FromTorch(slot.v);
  }
}

absl::Status AdamOneCycle::LoadFrom(const SafeTensorsFile& file, int64_t step) {
  for (const Slot& slot : slots_) {
    for (const char* moment : {".m", ".v"}) {
      const auto found = file.tensors.find(absl::StrCat("optimizer.", slot.name, moment));
      if (found == file.tensors.end() || found->second.dtype != "F32" ||
          found->second.shape != slot.parameter.sizes().vec()) {
        return absl::InvalidArgumentError(
            absl::StrCat("checkpoint lacks optimizer.", slot.name, moment, " in the parameter's shape"));
      }
    }
  }
  torch::NoGradGuard no_grad;
  for (Slot& slot : slots_) {
    slot.m.copy_(ToTorch(file.tensors.at(absl::StrCat("optimizer.", slot.name, ".m"))));
    slot.v.copy_(ToTorch(file.tensors.at(absl::StrCat("optimizer.", slot.name, ".v"))));
  }
  step_ = step;
  return absl::OkStatus();
}

}  // namespace kd
