#include "worker/import_teacher.h"

#include <utility>

#include "base/status.h"
#include "models/detector.h"

namespace kd {

absl::StatusOr<ImportedTeacher> ImportTeacher(const v1::Detector& detector, SafeTensorsFile weights,
                                              const std::vector<std::string>& allowed) {
  torch::manual_seed(0);
  DetectorModel model(detector);
  SafeTensorsFile state = StateDict(*model);
  std::vector<StateEntry> wanted;
  for (const auto& [name, tensor] : state.tensors) wanted.push_back({name, tensor.dtype, tensor.shape});
  ImportedTeacher imported{.report = FitState(wanted, weights.tensors)};
  imported.refused = UnfitNames(imported.report, allowed);
  if (!imported.refused.empty() || imported.report.matched == 0) return imported;
  for (auto& [name, tensor] : weights.tensors) state.tensors[name] = std::move(tensor);
  KD_RETURN_IF_ERROR(LoadStateDict(state, *model));
  imported.file = SaveWeights(*model);
  return imported;
}

}  // namespace kd
