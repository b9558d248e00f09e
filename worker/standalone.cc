#include "worker/standalone.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "core/pair.h"
#include "nlohmann/json.hpp"
#include "storage/registry/registry_client.h"
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

namespace {

// The weights, the job that made them and their scores, as one artifact. Returns its digest.
absl::StatusOr<std::string> PushStudent(const v1::Pair& pair, const std::string& folder, const std::string& teacher_digest,
                                        const std::string& dataset_digest, const std::string& registry_url) {
  KD_RETURN_IF_ERROR(WriteFileAtomically(folder + "/effective-pair.yaml", PairToYaml(pair)));
  Artifact student{.artifact_type = std::string(kStudentArtifactType),
                   .files = {{"model.safetensors", "application/vnd.kdfleet.weights.v1+safetensors", folder + "/model.safetensors"},
                             {"pair.yaml", "application/yaml", folder + "/effective-pair.yaml"},
                             {"metrics.json", "application/json", folder + "/metrics.json"}},
                   .annotations = {{"org.opencontainers.image.title", pair.metadata().name()},
                                   {"dev.kdfleet.dataset", dataset_digest}}};
  if (!teacher_digest.empty()) student.annotations["dev.kdfleet.teacher"] = teacher_digest;
  return RegistryClient(registry_url).Push(pair.output().name(), pair.output().tag(), student);
}

}  // namespace

absl::StatusOr<StandaloneResult> RunStandalone(const v1::Pair& pair, const std::string& folder, const std::string& teacher_address,
                                               const std::string& registry_url) {
  if (!registry_url.empty() && pair.output().name().empty()) {
    return absl::InvalidArgumentError("output.name is missing: the registry needs a repository; add output: {name: students/NAME, tag: v1}");
  }
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(pair.data()));
  TrainerOptions options;
  options.pair = pair;
  options.folder = folder;
  options.dataset = dataset.get();
  std::string teacher_digest;
  if (pair.has_teacher()) {
    KD_ASSIGN_OR_RETURN(options.teacher_weights, ReadFile(pair.teacher().weights()));
    teacher_digest = Sha256Digest(options.teacher_weights);
    if (teacher_address.empty()) {
      KD_ASSIGN_OR_RETURN(std::unique_ptr<TeacherModel> teacher, TeacherModel::Create(options.teacher_weights));
      options.source = NewInProcessSource(std::move(teacher));
    } else {
      RemoteSourceOptions remote;
      remote.request.set_job_id(pair.metadata().name());
      remote.request.set_teacher_digest(teacher_digest);
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
  if (!registry_url.empty()) {
    KD_ASSIGN_OR_RETURN(const std::string dataset_digest, dataset->Digest(pair.data().train_split()));
    KD_ASSIGN_OR_RETURN(result.artifact_digest, PushStudent(pair, folder, teacher_digest, dataset_digest, registry_url));
  }
  return result;
}

}  // namespace kd
