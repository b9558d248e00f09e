// kd-worker: trains a student for the fleet, alone, or just evaluates one.
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/frame_progress.h"
#include "base/program.h"
#include "base/report_error.h"
#include "base/status.h"
#include "base/text.h"
#include "core/detector_config.h"
#include "core/pair.h"
#include "core/pcdet_config.h"
#include "core/torch_checkpoint.h"
#include "data/nuscenes_dataset.h"
#include "eval/metrics_table.h"
#include "models/device.h"
#include "models/torch_status.h"
#include "nlohmann/json.hpp"
#include "torch/torch.h"
#include "worker/evaluate.h"
#include "worker/fleet_worker.h"
#include "worker/import_teacher.h"
#include "worker/standalone.h"

namespace kd {
namespace {

struct EvaluateFlags {
  std::string weights, format = "kitti", root, split = "val", detections_out, output = "json";
  bool fov_crop = true;
  uint32_t sweeps = kNuscenesSweeps;
  float intensity_scale = 1;
};

// Tells how far it is.
absl::StatusOr<Evaluation> EvaluateTold(DetectorModelImpl& model, const Dataset& dataset, const v1::Data& data,
                                        const std::vector<std::string>& samples, const std::string& detections_out) {
  FrameProgress progress("scored", samples.size());
  return Evaluate(model, dataset, data, samples, detections_out, [&progress] { progress.Done(); });
}

absl::Status RunEvaluate(const EvaluateFlags& flags) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(flags.weights));
  KD_ASSIGN_OR_RETURN(LoadedDetector loaded, LoadDetector(bytes));
  v1::Data data;
  data.set_format(flags.format);
  data.set_root(flags.root);
  data.set_fov_crop(flags.fov_crop);
  data.set_sweeps(flags.sweeps);
  data.set_intensity_scale(flags.intensity_scale);
  data.set_point_columns(loaded.module->config().num_point_features());
  *data.mutable_class_names() = loaded.module->config().class_names();
  KD_RETURN_IF_ERROR(CheckDetectorData("the weights", loaded.module->config(), data));
  KD_ASSIGN_OR_RETURN(const std::unique_ptr<Dataset> dataset, OpenDataset(data));
  KD_ASSIGN_OR_RETURN(const std::vector<std::string> samples, dataset->Split(flags.split));
  KD_ASSIGN_OR_RETURN(const Evaluation evaluation,
                      EvaluateTold(*loaded.module, *dataset, data, samples, flags.detections_out));
  if (flags.output == "table") {
    std::cout << absl::StrFormat("weights %s\nframes  %d of %s\n\n", loaded.digest, samples.size(), flags.split)
              << MetricsToTable(evaluation.metrics) << std::flush;
    return absl::OkStatus();
  }
  const nlohmann::ordered_json json = {
      {"weights", loaded.digest}, {"frames", samples.size()}, {"metrics", evaluation.metrics}};
  std::cout << json.dump(1) << std::endl;
  return absl::OkStatus();
}

// What kdctl eval model becomes.
ExitCode EvaluateWeights(const EvaluateFlags& flags) {
  const absl::Status status = CatchTorch("kd-worker", [&flags] { return RunEvaluate(flags); });
  if (status.ok()) return kExitOk;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
      return ReportError(status, absl::StrCat("mend the file that is named, or take its frame out of the split; ",
                                              "kdctl data check --data ", flags.root, " --format ", flags.format,
                                              " --split ", flags.split, " --frames 0 finds all such"));
    case absl::StatusCode::kFailedPrecondition:
      return ReportError(status, "name a split that has labels with --split");
    case absl::StatusCode::kResourceExhausted:
      return ReportError(status, "make room in memory or on the disk and run it again");
    default:
      return ReportError(status, "kdctl eval model --help");
  }
}

absl::Status RunTrainAlone(const std::string& pair_path, const std::string& folder, const std::string& teacher_address,
                           const std::string& registry_url) {
  KD_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(pair_path));
  KD_ASSIGN_OR_RETURN(const v1::Pair pair, ParsePair(yaml, pair_path));
  if (pair.train().threads() > 0) torch::set_num_threads(static_cast<int>(pair.train().threads()));
  KD_ASSIGN_OR_RETURN(const StandaloneResult result, RunStandalone(pair, folder, teacher_address, registry_url));
  std::cout << nlohmann::ordered_json{{"weights", result.weights_path},
                                      {"artifact", result.artifact_digest},
                                      {"metrics", result.metrics}}
                   .dump(1)
            << std::endl;
  return absl::OkStatus();
}

struct ImportFlags {
  std::string config, model, section = "MODEL", weights, out, output = "table", allow_missing;
};

// Why nothing is written, and the way out.
ExitCode ReportMisfit(const ImportFlags& flags, const ImportedTeacher& teacher) {
  const std::string remedy = absl::StrCat("change ", flags.config.empty() ? "--model" : "--cfg",
                                          " or the checkpoint as the report says (-o json lists every tensor)");
  if (teacher.report.matched == 0) {
    return ReportError(
        absl::InvalidArgumentError(absl::StrCat(
            "no tensor of ", flags.weights, " fits; ",
            flags.allow_missing.empty() ? "nothing was written" : "--allow-missing would write an untrained teacher")),
        remedy);
  }
  std::string problem = absl::StrCat(flags.weights, " does not fit the detector");
  if (!flags.allow_missing.empty()) {
    absl::StrAppend(&problem, " beyond what --allow-missing names: ", Shorten(teacher.refused[0], 120));
    if (teacher.refused.size() > 1) absl::StrAppend(&problem, " and ", teacher.refused.size() - 1, " more");
  }
  return ReportError(absl::InvalidArgumentError(absl::StrCat(problem, "; nothing was written")),
                     absl::StrCat(remedy, ", or name with --allow-missing what may start untrained"));
}

absl::StatusOr<ExitCode> RunImport(const ImportFlags& flags) {
  KD_ASSIGN_OR_RETURN(const v1::Detector detector, flags.config.empty() ? BuiltInDetector(flags.model)
                                                                        : ReadPcdetConfig(flags.config, flags.section));
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(flags.weights));
  absl::StatusOr<TorchCheckpoint> checkpoint = ParseWeights(bytes);
  if (!checkpoint.ok()) return Annotate(checkpoint.status(), flags.weights);
  const std::vector<std::string> allowed = absl::StrSplit(flags.allow_missing, ',', absl::SkipEmpty());
  KD_ASSIGN_OR_RETURN(const ImportedTeacher teacher, ImportTeacher(detector, std::move(checkpoint->weights), allowed));
  std::cout << (flags.output == "json" ? StateReportToJson(teacher.report) + "\n" : StateReportToText(teacher.report))
            << std::flush;
  if (teacher.file.empty()) {
    return ReportMisfit(flags, teacher);
  }
  if (const size_t untrained = teacher.report.missing.size() + teacher.report.mismatched.size(); untrained > 0) {
    std::cerr << "warning: " << untrained << " of " << teacher.report.wanted << " tensors start untrained" << std::endl;
  }
  std::filesystem::path path = std::filesystem::absolute(flags.out);
  if (path.extension() != ".safetensors") path /= "model.safetensors";
  KD_RETURN_IF_ERROR(CreateFolders(path.parent_path().string()));
  KD_RETURN_IF_ERROR(WriteFileAtomically(path.string(), teacher.file));
  std::cerr << "wrote a teacher for job files: teacher: {weights: " << path.string() << "}\nnext: kdctl eval model "
            << path.string() << " --data ROOT" << std::endl;
  return kExitOk;
}

// What kdctl teacher import becomes.
ExitCode Import(const ImportFlags& flags) {
  const absl::StatusOr<ExitCode> code = CatchTorch("kd-worker", [&flags] { return RunImport(flags); });
  if (code.ok()) return *code;
  return ReportError(code.status(), "name a checkpoint with --weights, and a place that can be written with --out");
}

int Main(int argc, char** argv) {
  KeepFreedMemory();
#ifdef KD_CUDA
  // A collective that fails is then an error of the rank that waits for it; otherwise a thread of NCCL's ends the
  // process before it has told why.
  ::setenv("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/0);
#endif
  CLI::App app{"Trains and evaluates students", "kd-worker"};
  app.require_subcommand(1);

  EvaluateFlags evaluate;
  CLI::App* evaluate_command =
      app.add_subcommand("evaluate", "Score a weights file on a split; kdctl eval model calls it");
  evaluate_command->add_option("--weights", evaluate.weights, "model.safetensors")->required();
  evaluate_command->add_option("--data", evaluate.root, "Folder of the data set")->required();
  evaluate_command->add_option("--split", evaluate.split, "Name of a file in ImageSets");
  evaluate_command->add_flag("--fov-crop,!--no-fov-crop", evaluate.fov_crop,
                             "Keep only points that the left colour image shows");
  evaluate_command->add_option("--format", evaluate.format, "Layout of the data set: kitti, nuscenes, waymo or custom")
      ->capture_default_str();
  evaluate_command->add_option("--sweeps", evaluate.sweeps, "Of nuScenes: clouds a frame is made of")
      ->capture_default_str()
      ->check(CLI::Range(1, 40));
  evaluate_command
      ->add_option("--intensity-scale", evaluate.intensity_scale, "Of own data: what intensities are divided by")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 1e6));
  evaluate_command->add_option("--detections-out", evaluate.detections_out,
                               "Also write result files here (KITTI, nuScenes, Waymo)");
  evaluate_command->add_option("--output", evaluate.output, "table or json")
      ->capture_default_str()
      ->check(CLI::IsMember({"table", "json"}));

  ImportFlags import;
  CLI::App* import_command = app.add_subcommand(
      "import", "Turn weights of OpenPCDet's into a teacher's weights file; kdctl teacher import calls it");
  import_command->add_option("--cfg", import.config, "OpenPCDet's configuration file");
  import_command->add_option("--model", import.model, "A built-in detector instead of a configuration");
  import_command->add_option("--section", import.section, "Section of the configuration")->capture_default_str();
  import_command->add_option("--weights", import.weights, "Checkpoint (.pth), TorchScript (.pt) or .safetensors")
      ->required();
  import_command->add_option("--out", import.out, "FILE.safetensors, or a folder for model.safetensors")->required();
  import_command->add_option("--allow-missing", import.allow_missing,
                             "Patterns, separated by commas, of the tensors that need not fit");
  import_command->add_option("--output", import.output, "table or json")->check(CLI::IsMember({"table", "json"}));

  std::string pair_path, folder, teacher_address, registry_url;
  CLI::App* alone_command = app.add_subcommand("train-alone", "Run a whole job in this process, without a fleet");
  alone_command->add_option("--pair", pair_path, "Job file; its teacher must be a weights file")->required();
  alone_command->add_option("--folder", folder, "Where checkpoints, weights and metrics go")->required();
  alone_command->add_option("--teacher", teacher_address,
                            "Address of a kd-teacher; default: the teacher runs in this process");
  alone_command->add_option("--registry", registry_url, "Push the student here, for example http://127.0.0.1:7071");

  FleetWorkerOptions fleet;
  CLI::App* train_command = app.add_subcommand("train", "Be one worker of a job; the coordinator starts it so");
  train_command->add_option("--coordinator", fleet.coordinator, "HOST:PORT")->required();
  train_command->add_option("--job", fleet.job, "The job's id")->required();
  train_command->add_option("--generation", fleet.generation, "Which start of the job's workers this is")->required();
  train_command->add_option("--rank", fleet.rank, "Number of this worker, from 0")->required();
  ExitCode called = kExitOk;
  const int code = RunProgram(app, argc, argv, [&]() -> absl::Status {
    if (evaluate_command->parsed()) called = EvaluateWeights(evaluate);
    if (import_command->parsed()) called = Import(import);
    if (evaluate_command->parsed() || import_command->parsed()) return absl::OkStatus();
    return CatchTorch("kd-worker", [&] {
      return alone_command->parsed() ? RunTrainAlone(pair_path, folder, teacher_address, registry_url)
                                     : RunFleetWorker(fleet);
    });
  });
  return code == kExitOk ? called : code;
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
