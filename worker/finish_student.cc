#include "worker/finish_student.h"

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "core/pair.h"
#include "nlohmann/json.hpp"
#include "storage/registry/registry_client.h"
#include "worker/evaluate.h"

namespace kd {
namespace {

constexpr char kWeights[] = "model.safetensors";
constexpr char kPair[] = "effective-pair.yaml";
constexpr char kMetrics[] = "metrics.json";

absl::StatusOr<std::string> Push(const FinishOptions& options) {
  const v1::Pair& pair = options.pair;
  const std::string at = options.folder + "/";
  Artifact student{.artifact_type = std::string(kStudentArtifactType),
                   .files = {{kWeights, "application/vnd.kdfleet.weights.v1+safetensors", at + kWeights},
                             {"pair.yaml", "application/yaml", at + kPair},
                             {kMetrics, "application/json", at + kMetrics}},
                   .annotations = {{"org.opencontainers.image.title", pair.metadata().name()}}};
  KD_ASSIGN_OR_RETURN(student.annotations["dev.kdfleet.dataset"], options.dataset->Digest(pair.data().train_split()));
  if (!options.teacher_digest.empty()) student.annotations["dev.kdfleet.teacher"] = options.teacher_digest;
  return RegistryClient(options.registry_url).Push(pair.output().name(), pair.output().tag(), student);
}

}  // namespace

absl::StatusOr<v1::Outcome> FinishStudent(DetectorModelImpl& student, const FinishOptions& options) {
  const v1::Pair& pair = options.pair;
  const auto say = [&options](const std::string& phase) {
    if (options.on_phase) options.on_phase(phase);
  };
  say("evaluating");
  KD_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(options.folder, "/", kWeights), SaveWeights(student)));
  KD_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(options.folder, "/", kPair), PairToYaml(pair)));
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, options.dataset->Split(pair.data().val_split()));
  KD_ASSIGN_OR_RETURN(const Evaluation evaluation, Evaluate(student, *options.dataset, pair.data(), samples, ""));
  KD_RETURN_IF_ERROR(
      WriteFileAtomically(absl::StrCat(options.folder, "/", kMetrics), nlohmann::json(evaluation.metrics).dump(1)));
  v1::Outcome outcome;
  outcome.mutable_metrics()->insert(evaluation.metrics.begin(), evaluation.metrics.end());
  if (!options.registry_url.empty() && !pair.output().name().empty()) {
    say("pushing");
    KD_ASSIGN_OR_RETURN(*outcome.mutable_artifact_digest(), Push(options));
    outcome.set_artifact(absl::StrCat("registry://", pair.output().name(), ":", pair.output().tag()));
  }
  return outcome;
}

}  // namespace kd
