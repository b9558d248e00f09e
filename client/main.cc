// kdctl: the command line of kdfleet.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/file.h"
#include "client/output.h"
#include "client/pull.h"
#include "client/show.h"
#include "core/pair.h"
#include "data/simulator.h"
#include "eval/kitti.h"

namespace kd {
namespace {

constexpr char kVersion[] = "0.1.0";

constexpr char kExamples[] =
    "Examples:\n"
    "  kdctl data simulate --out out/sim            make a data set to play with\n"
    "  kdctl validate examples/student-sim-all.yaml check a job file\n"
    "  kdctl explain pair.distill                   what may stand in it\n"
    "\nExit codes: kdctl help exit-codes\n";

int Simulate(const SimulatorOptions& options) {
  absl::Time next = absl::Now() + absl::Seconds(1);
  const absl::Status status = WriteSimulatedKitti(options, [&](uint32_t done, uint32_t total) {
    if (absl::Now() < next && done < total) return;
    next = absl::Now() + absl::Seconds(1);
    Say(absl::StrCat("simulated ", done, " of ", total, " frames"));
  });
  if (!status.ok()) return ReportError(status, "choose an empty folder with --out");
  std::cout << options.root << "\n";
  Say(absl::StrCat("next: kdctl validate examples/teacher-sim.yaml"));
  return kExitOk;
}

struct KittiFlags {
  std::string labels, detections, frames, output = "table";
};

int EvalKitti(const KittiFlags& flags) {
  const auto frames = ReadKittiFrames(flags.labels, flags.detections, flags.frames);
  if (!frames.ok()) return ReportError(frames.status(), "give --labels and --detections folders with one FRAME.txt per frame");
  const KittiResult result = EvaluateKitti(*frames);
  std::cout << (flags.output == "json" ? KittiResultToJson(result) + "\n" : KittiResultToTable(result));
  return kExitOk;
}

// The worker beside this program runs the network: kdctl itself is free of LibTorch.
int EvalModel(const std::string& weights, const std::string& root, const std::string& split) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string worker = (self.parent_path() / "kd-worker").string();
  std::string file = weights;
  if (std::filesystem::is_directory(file)) file += "/model.safetensors";
  std::vector<std::string> arguments = {worker, "evaluate", "--weights", file, "--data", root, "--split", split};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::cout.flush();
  ::execv(worker.c_str(), argv.data());
  return ReportError(absl::NotFoundError(absl::StrCat("cannot run ", worker)), "install kd-worker beside kdctl (scripts/build)");
}

int Validate(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return ReportError(text.status(), "kdctl explain pair");
  const absl::StatusOr<v1::Pair> pair = ParsePair(*text, path);
  if (!pair.ok()) return ReportError(pair.status(), "kdctl explain pair");
  std::cout << PairToYaml(*pair);
  return kExitOk;
}

int Explain(const std::string& path) {
  const absl::StatusOr<std::string> text = ExplainPair(path);
  if (!text.ok()) return ReportError(text.status(), "kdctl explain pair");
  std::cout << *text;
  return kExitOk;
}

int Main(int argc, char** argv) {
  CLI::App app{"Distils 3D object detectors"};
  app.footer(kExamples);
  app.require_subcommand(1);
  int code = kExitOk;

  CLI::App* data = app.add_subcommand("data", "Data sets")->require_subcommand(1);
  SimulatorOptions simulator;
  CLI::App* simulate = data->add_subcommand("simulate", "Write a simulated data set in KITTI's layout");
  simulate->add_option("--out", simulator.root, "Folder to write")->required();
  simulate->add_option("--train", simulator.train_frames, "Training frames")->capture_default_str();
  simulate->add_option("--val", simulator.val_frames, "Validation frames")->capture_default_str();
  simulate->add_option("--seed", simulator.seed, "Seed of the scenes")->capture_default_str();
  simulate->callback([&] { code = Simulate(simulator); });

  CLI::App* eval = app.add_subcommand("eval", "Scores")->require_subcommand(1);
  KittiFlags kitti;
  CLI::App* eval_kitti = eval->add_subcommand("kitti", "Official KITTI average precision of result files");
  eval_kitti->add_option("--labels", kitti.labels, "Folder of label files")->required();
  eval_kitti->add_option("--detections", kitti.detections, "Folder of result files")->required();
  eval_kitti->add_option("--frames", kitti.frames, "File naming the frames to score, one a line; default: every result file");
  eval_kitti->add_option("-o,--output", kitti.output, "table or json")->check(CLI::IsMember({"table", "json"}));
  eval_kitti->callback([&] { code = EvalKitti(kitti); });

  std::string weights, root, split = "val";
  CLI::App* eval_model = eval->add_subcommand("model", "Run a model over a split and score it; prints JSON");
  eval_model->add_option("MODEL", weights, "model.safetensors, or a folder that holds it")->required();
  eval_model->add_option("--data", root, "Folder of the data set")->required();
  eval_model->add_option("--split", split, "Name of a file in ImageSets")->capture_default_str();
  eval_model->callback([&] { code = EvalModel(weights, root, split); });

  std::string file;
  CLI::App* validate = app.add_subcommand("validate", "Check a job file and print it with all defaults");
  validate->add_option("FILE", file, "Job file")->required();
  validate->callback([&] { code = Validate(file); });

  PullOptions pull;
  CLI::App* pull_command = app.add_subcommand("pull", "Fetch a student or teacher from the registry; prints the folder");
  pull_command->add_option("REFERENCE", pull.reference, "registry://students/NAME:v1, or students/NAME@sha256:...")->required();
  pull_command->add_option("-o,--out", pull.out, "Folder to write; default: the repository's last part");
  pull_command->add_option("--registry", pull.registry, "URL of the registry")->envname("KD_REGISTRY")->capture_default_str();
  pull_command->callback([&] { code = Pull(pull); });

  ShowOptions show;
  CLI::App* show_command = app.add_subcommand("show", "Draw a frame: points, labels, detections");
  show_command->add_option("FRAME", show.sample, "Name of the frame, such as 000134")->required();
  show_command->add_option("--root", show.root, "Folder of the data set")->required();
  show_command->add_option("-o,--out", show.out, "PNG to write")->required();
  show_command->add_option("--teacher", show.teacher, "Folder of the teacher's result files (blue)");
  show_command->add_option("--student", show.student, "Folder of the student's result files (orange)");
  show_command->add_option("--min-score", show.min_score, "Leave out detections below this score")->capture_default_str();
  show_command->callback([&] {
    const absl::Status status = ShowFrame(show);
    code = status.ok() ? kExitOk : ReportError(status, "name a frame of ROOT/training and folders with one FRAME.txt per frame");
    if (status.ok()) std::cout << show.out << "\n";
  });

  std::string path = "pair";
  CLI::App* explain = app.add_subcommand("explain", "Document the job file");
  explain->add_option("PATH", path, "Such as pair.distill or pair.train.lr");
  explain->callback([&] { code = Explain(path); });

  app.add_subcommand("schema", "JSON Schema of the job file, for editors")->callback([] { std::cout << PairJsonSchema() << "\n"; });
  app.add_subcommand("version", "Version of this program")->callback([] { std::cout << kVersion << "\n"; });
  CLI::App* help = app.add_subcommand("help", "Help topics")->require_subcommand(1);
  help->add_subcommand("exit-codes", "What the exit codes mean")->callback([] { std::cout << kExitCodesHelp; });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int parsed = app.exit(error);
    return parsed == 0 ? kExitOk : kExitBadInput;
  }
  return code;
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
