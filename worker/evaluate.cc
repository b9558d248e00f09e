#include "worker/evaluate.h"

#include "base/status.h"
#include "eval/scorer.h"

namespace kd {

absl::StatusOr<Evaluation> Evaluate(DetectorModelImpl& model, const Dataset& dataset, const v1::Data& data,
                                    const std::vector<std::string>& samples, const std::string& detections_folder,
                                    const std::function<void()>& on_frame) {
  torch::NoGradGuard no_grad;
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Scorer> scorer, NewScorer(data, dataset, detections_folder));
  const bool was_training = model.is_training();
  model.eval();
  for (const std::string& sample : samples) {
    KD_ASSIGN_OR_RETURN(const Frame frame, dataset.Read(sample));
    const Batch batch = MakeBatch({&frame}, model.config(), /*training=*/false);
    KD_RETURN_IF_ERROR(scorer->Add(frame, model.Decode(model.Forward(ToDevice(batch, model.device())))[0]));
    if (on_frame) on_frame();
  }
  if (was_training) model.train();
  Evaluation evaluation;
  KD_ASSIGN_OR_RETURN(evaluation.metrics, scorer->Finish());
  return evaluation;
}

}  // namespace kd
