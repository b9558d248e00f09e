#include "worker/standalone.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "nlohmann/json.hpp"
#include "worker/evaluate.h"
#include "worker/trainer.h"

namespace kd {

std::string ProgressLine(const v1::Progress& progress) {
  std::string line = absl::StrCat("step ", progress.step(), "/", progress.total_steps(), " epoch ", progress.epoch());
  for (const auto& [name, value] : progress.losses()) absl::StrAppend(&line, " ", name, " ", absl::SixDigits(value));
  absl::StrAppend(&line, " | ", absl::SixDigits(progress.samples_per_second()), " frames/s, waited for data ",
                  static_cast<int>(100 * progress.data_wait_share()), " %");
  return line;
}

absl::StatusOr<StandaloneResult> RunStandalone(const v1::Pair& pair, const std::string& folder, const std::string& teacher_address) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(pair.data()));
  TrainerOptions options;
  options.pair = pair;
  options.folder = folder;
  options.dataset = dataset.get();
  if (pair.has_teacher()) {
    KD_ASSIGN_OR_RETURN(options.teacher_weights, ReadFile(pair.teacher().weights()));
    if (teacher_address.empty()) {
      KD_ASSIGN_OR_RETURN(std::unique_ptr<TeacherModel> teacher, TeacherModel::Create(options.teacher_weights));
      options.source = NewInProcessSource(std::move(teacher));
    } else {
      RemoteSourceOptions remote;
      remote.request.set_job_id(pair.metadata().name());
      remote.request.set_teacher_digest(Sha256Digest(options.teacher_weights));
      *remote.request.mutable_data() = pair.data();
      KD_ASSIGN_OR_RETURN(const std::string digest, dataset->Digest(pair.data().train_split()));
      remote.request.set_dataset_digest(digest);
      remote.request.set_view_offset(pair.teacher().view_offset());
      remote.address = [teacher_address]() -> absl::StatusOr<std::string> { return teacher_address; };
      options.source = NewRemoteSource(std::move(remote));
    }
  }
  options.on_progress = [](const v1::Progress& progress) { LogInfo(ProgressLine(progress)); };
  KD_ASSIGN_OR_RETURN(CenterPointPillar student, Train(std::move(options)));

  StandaloneResult result{.weights_path = folder + "/model.safetensors"};
  KD_RETURN_IF_ERROR(WriteFileAtomically(result.weights_path, SaveWeights(*student)));
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, dataset->Split(pair.data().val_split()));
  KD_ASSIGN_OR_RETURN(const Evaluation evaluation, Evaluate(*student, *dataset, pair.data().root(), samples, ""));
  result.metrics = evaluation.metrics;
  KD_RETURN_IF_ERROR(WriteFileAtomically(folder + "/metrics.json", nlohmann::json(result.metrics).dump(1)));
  return result;
}

}  // namespace kd
