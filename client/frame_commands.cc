// kdctl data, eval and show: frames and scores, without a fleet.
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "base/status.h"
#include "client/data_source.h"
#include "client/session.h"
#include "client/show.h"
#include "client/worker_program.h"
#include "core/detector_config.h"
#include "core/pair.h"
#include "core/safetensors.h"
#include "data/nuscenes_dataset.h"
#include "data/simulated_nuscenes.h"
#include "data/simulated_waymo.h"
#include "data/simulator.h"
#include "eval/kitti.h"
#include "eval/scorer.h"

namespace kd {
namespace {

struct SimulateFlags {
  SimulatorOptions options;
  std::string layout = "kitti";
};

int Simulate(const SimulateFlags& flags) {
  absl::Time next = absl::Now() + absl::Seconds(1);
  const SimulatorProgress progress = [&](uint32_t done, uint32_t total) {
    if (absl::Now() < next && done < total) return;
    next = absl::Now() + absl::Seconds(1);
    Say(absl::StrCat("simulated ", done, " of ", total, " frames"));
  };
  const absl::Status status = flags.layout == "nuscenes" ? WriteSimulatedNuscenes(flags.options, progress)
                              : flags.layout == "waymo"  ? WriteSimulatedWaymo(flags.options, progress)
                                                         : WriteSimulatedKitti(flags.options, progress);
  if (!status.ok()) return ReportError(status, "choose an empty folder with --out");
  std::cout << flags.options.root << "\n";
  SayNext(flags.layout == "kitti" ? "kdctl validate examples/teacher-sim.yaml"
                                  : absl::StrCat("kdctl data check --data ", flags.options.root, " --split ",
                                                 flags.layout == "nuscenes" ? "mini_train" : "train"));
  return kExitOk;
}

struct KittiFlags {
  std::string labels, detections, frames, output = "table";
};

int EvalKitti(const KittiFlags& flags) {
  const auto frames = ReadKittiFrames(flags.labels, flags.detections, flags.frames);
  if (!frames.ok()) {
    return ReportError(frames.status(), "give --labels and --detections folders with one FRAME.txt per frame");
  }
  const KittiResult result = EvaluateKitti(*frames);
  std::cout << (flags.output == "json" ? KittiResultToJson(result) + "\n" : KittiResultToTable(result));
  return kExitOk;
}

struct ModelFlags {
  std::string weights, root, split = "val", detections_out, output = "table";
  // Empty: as the folders look.
  std::string format;
  bool fov_crop = true;
  uint32_t sweeps = kNuscenesSweeps;
  float intensity_scale = 1;
};

// Tells what can be told before the network is loaded. Returns the data set's format.
absl::StatusOr<std::string> CheckModel(const std::string& weights, const ModelFlags& flags) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(weights));
  const absl::StatusOr<SafeTensorsFile> file = ParseSafeTensors(bytes);
  if (!file.ok()) return Annotate(file.status(), weights);
  const absl::StatusOr<v1::Detector> detector = DetectorOf(*file);
  if (!detector.ok()) return Annotate(detector.status(), weights);
  KD_ASSIGN_OR_RETURN(const OpenedData opened,
                      OpenData({.root = flags.root,
                                .split = flags.split,
                                .format = flags.format,
                                .classes = {detector->class_names().begin(), detector->class_names().end()},
                                .point_columns = detector->num_point_features(),
                                .sweeps = flags.sweeps,
                                .intensity_scale = flags.intensity_scale}));
  KD_RETURN_IF_ERROR(CheckDetectorData(weights, *detector, opened.data));
  KD_RETURN_IF_ERROR(opened.dataset->Split(flags.split).status());
  KD_RETURN_IF_ERROR(NewScorer(opened.data, *opened.dataset, flags.detections_out).status());
  return opened.data.format();
}

int EvalModel(const ModelFlags& flags) {
  std::string file = flags.weights;
  if (std::error_code unknown; std::filesystem::is_directory(file, unknown)) file += "/model.safetensors";
  const absl::StatusOr<std::string> format = CheckModel(file, flags);
  if (absl::IsFailedPrecondition(format.status()))
    return ReportError(format.status(), "name a split that has labels with --split, or --detections-out FOLDER");
  if (!format.ok()) {
    return ReportError(format.status(),
                       "name a model.safetensors or a folder that kdctl pull made, a data set with --data and --split, "
                       "and a folder that can be written with --detections-out, if any");
  }
  std::vector<std::string> arguments = {"evaluate",  "--weights",
                                        file,        "--format",
                                        *format,     "--data",
                                        flags.root,  "--split",
                                        flags.split, flags.fov_crop ? "--fov-crop" : "--no-fov-crop",
                                        "--sweeps",  absl::StrCat(flags.sweeps),
                                        "--output",  flags.output};
  // Nine digits name a float.
  if (flags.intensity_scale != 1)
    arguments.insert(arguments.end(), {"--intensity-scale", absl::StrFormat("%.9g", flags.intensity_scale)});
  if (!flags.detections_out.empty()) arguments.insert(arguments.end(), {"--detections-out", flags.detections_out});
  return BecomeWorker(arguments);
}

int Show(const ShowOptions& options) {
  const absl::Status status = ShowFrame(options);
  if (!status.ok())
    return ReportError(status, "name a frame of ROOT/training and folders with one FRAME.txt per frame");
  std::cout << options.out << "\n";
  return kExitOk;
}

void AddDataCommands(CLI::App& app, Session& session) {
  CLI::App* data = app.add_subcommand("data", "Data sets")->group("Data and scores")->require_subcommand(1);
  const auto flags = std::make_shared<SimulateFlags>();
  SimulatorOptions& options = flags->options;
  CLI::App* simulate = data->add_subcommand("simulate", "Write a simulated data set");
  simulate->add_option("--out", options.root, "Folder to write")->required();
  simulate->add_option("--layout", flags->layout, "kitti, nuscenes (v1.0-mini; frames are key frames) or waymo")
      ->check(CLI::IsMember({"kitti", "nuscenes", "waymo"}))
      ->capture_default_str();
  simulate->add_option("--train", options.train_frames, "Training frames")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  simulate->add_option("--val", options.val_frames, "Validation frames")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  simulate->add_option("--seed", options.seed, "Seed of the scenes")->capture_default_str();
  simulate->footer(
      "Examples:\n"
      "  kdctl data simulate --out out/sim                        as KITTI: 400 frames for training, 300 for "
      "validation\n"
      "  kdctl data simulate --layout nuscenes --out out/nuscenes --train 40 --val 20\n"
      "  kdctl data simulate --layout waymo --out out/waymo --train 40 --val 20");
  simulate->callback([&session, flags] { session.exit_code = Simulate(*flags); });
}

void AddEvalCommands(CLI::App& app, Session& session) {
  CLI::App* eval = app.add_subcommand("eval", "Scores")->group("Data and scores")->require_subcommand(1);
  const auto flags = std::make_shared<KittiFlags>();
  CLI::App* kitti = eval->add_subcommand("kitti", "Official KITTI average precision of result files");
  kitti->footer(
      "Examples:\n"
      "  cd tests/golden/kitti/k01_small && kdctl eval kitti --labels label_2 --detections data\n"
      "  kdctl eval kitti --labels /data/kitti/training/label_2 --detections found "
      "--frames /data/kitti/ImageSets/val.txt\n"
      "What it takes, and OpenPCDet's names of the scores: docs/evaluation.md");
  kitti->add_option("--labels", flags->labels, "Folder of label files")->required();
  kitti->add_option("--detections", flags->detections, "Folder of result files")->required();
  kitti->add_option("--frames", flags->frames,
                    "File naming the frames to score, one a line; default: every result file");
  kitti->add_option("-o,--output", flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  kitti->callback([&session, flags] { session.exit_code = EvalKitti(*flags); });

  AddNuscenesCommand(*eval, session);

  const auto model_flags = std::make_shared<ModelFlags>();
  CLI::App* model = eval->add_subcommand("model", "Run a model over a split and score it");
  model->footer(
      "Examples:\n"
      "  kdctl eval model sim-all --data out/sim\n"
      "  kdctl eval model model.safetensors --data /data/nuscenes/v1.0-mini --split mini_val -o json\n"
      "  kdctl eval model model.safetensors --data /data/kitti --detections-out found\n"
      "What each score means: docs/evaluation.md");
  model->add_option("MODEL", model_flags->weights, "model.safetensors, or a folder that holds it")->required();
  model->add_option("--data", model_flags->root, "Folder of the data set")->required();
  model->add_option("--format", model_flags->format, "Layout of the data set; default: as the folders look")
      ->check(CLI::IsMember({"kitti", "nuscenes", "waymo", "custom"}));
  model
      ->add_option("--split", model_flags->split,
                   "Name of a file in ImageSets; of Waymo train, val or test; of nuScenes an official split")
      ->capture_default_str();
  model->add_flag("--fov-crop,!--no-fov-crop", model_flags->fov_crop,
                  "Keep only points that the left colour image shows (data.fov_crop of its job)");
  model->add_option("--sweeps", model_flags->sweeps, "Of nuScenes: clouds a frame is made of (data.sweeps of its job)")
      ->capture_default_str()
      ->check(CLI::Range(1, 40));
  AddIntensityScale(*model, model_flags->intensity_scale);
  model->add_option("--detections-out", model_flags->detections_out,
                    "Also write result files into this folder: FRAME.txt (KITTI), submission.json (nuScenes) or "
                    "detections.bin (Waymo)");
  model->add_option("-o,--output", model_flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  model->callback([&session, model_flags] { session.exit_code = EvalModel(*model_flags); });
}

}  // namespace

void AddFrameCommands(CLI::App& app, Session& session) {
  AddDataCommands(app, session);
  AddEvalCommands(app, session);
  const auto options = std::make_shared<ShowOptions>();
  CLI::App* show =
      app.add_subcommand("show", "Draw a frame of a KITTI folder with detections (other formats: kdctl data view)")
          ->group("Data and scores");
  show->add_option("FRAME", options->sample, "Name of the frame, such as 000134")->required();
  show->add_option("--data,--root", options->root, "Folder of the data set")->required();
  show->add_option("-o,--out", options->out, "PNG to write")->required();
  show->add_option("--teacher", options->teacher, "Folder of the teacher's result files (blue)");
  show->add_option("--student", options->student, "Folder of the student's result files (orange)");
  show->add_option("--min-score", options->min_score, "Leave out detections below this score")->capture_default_str();
  show->footer(
      "Examples:\n"
      "  kdctl show 000000 --data out/sim -o frame.png\n"
      "  kdctl show 000000 --data out/sim -o frame.png --teacher out/teacher/detections --min-score 0.5\n"
      "The folders of detections are those of kdctl eval model --detections-out.");
  show->callback([&session, options] { session.exit_code = Show(*options); });
}

}  // namespace kd
