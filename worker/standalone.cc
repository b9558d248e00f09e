#include "worker/standalone.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "models/device.h"
#include "worker/finish_student.h"
#include "worker/trainer.h"

namespace kd {

std::string ProgressLine(const v1::Progress& progress) {
  std::string line = absl::StrCat("step ", progress.step(), "/", progress.total_steps(), " epoch ", progress.epoch());
  for (const auto& [name, value] : progress.losses()) absl::StrAppend(&line, " ", name, " ", absl::SixDigits(value));
  absl::StrAppend(&line, " | ", absl::SixDigits(progress.samples_per_second()), " frames/s, waited for data ",
                  static_cast<int>(100 * progress.data_wait_share()), " %");
  return line;
}

absl::StatusOr<StandaloneResult> RunStandalone(const v1::Pair& pair, const std::string& folder,
                                               const std::string& teacher_address, const std::string& registry_url) {
  if (!registry_url.empty() && pair.output().name().empty()) {
    return absl::InvalidArgumentError(
        "output.name is missing: the registry needs a repository; add output: {name: students/NAME, tag: v1}");
  }
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(pair.data()));
  KD_ASSIGN_OR_RETURN(const ViewMaker views, ViewMaker::Open(pair.data(), *dataset));
  TrainerOptions options;
  options.pair = pair;
  options.folder = folder;
  options.dataset = dataset.get();
  options.views = &views;
  options.device = ChooseDevice();
  std::string teacher_digest;
  if (pair.has_teacher()) {
    KD_ASSIGN_OR_RETURN(options.teacher_weights, ReadFile(pair.teacher().weights()));
    teacher_digest = Sha256Digest(options.teacher_weights);
    if (teacher_address.empty()) {
      KD_ASSIGN_OR_RETURN(std::unique_ptr<TeacherModel> teacher, TeacherModel::Create(options.teacher_weights));
      const uint32_t offset = pair.teacher().view_offset();
      options.source = offset == 0 ? NewInProcessSource(std::move(teacher))
                                   : NewMisalignedSource(std::move(teacher), *dataset, views, offset);
    } else {
      KD_ASSIGN_OR_RETURN(v1::StreamResponsesRequest request,
                          ResponsesFor(pair, pair.metadata().name(), teacher_digest, *dataset, views));
      options.source =
          NewRemoteSource({.request = std::move(request),
                           .address = [teacher_address]() -> absl::StatusOr<std::string> { return teacher_address; }});
    }
  }
  options.on_progress = [](const v1::Progress& progress) { LogInfo(ProgressLine(progress)); };
  KD_ASSIGN_OR_RETURN(DetectorModel student, Train(std::move(options)));

  KD_ASSIGN_OR_RETURN(const v1::Outcome outcome, FinishStudent(*student, {.pair = pair,
                                                                          .dataset = dataset.get(),
                                                                          .folder = folder,
                                                                          .teacher_digest = teacher_digest,
                                                                          .registry_url = registry_url}));
  return StandaloneResult{.metrics = {outcome.metrics().begin(), outcome.metrics().end()},
                          .weights_path = folder + "/model.safetensors",
                          .artifact_digest = outcome.artifact_digest()};
}

}  // namespace kd
