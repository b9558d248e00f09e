// kdctl teacher import and convert: weights of other programs, read without running anything of them.
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "client/session.h"
#include "client/worker_program.h"
#include "core/detector_config.h"
#include "core/pcdet_config.h"
#include "core/torch_checkpoint.h"

namespace kd {
namespace {

absl::StatusOr<TorchCheckpoint> ReadWeights(const std::string& path) {
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  absl::StatusOr<TorchCheckpoint> checkpoint = ParseWeights(bytes);
  if (!checkpoint.ok()) return Annotate(checkpoint.status(), path);
  return checkpoint;
}

struct ImportFlags {
  std::string config, model, section = "MODEL", weights, out, output = "table", allow_missing;
};

// Comparing names needs the network, which the worker builds; everything else that can be wrong is told here.
int Import(const ImportFlags& flags) {
  if (flags.config.empty() == flags.model.empty()) {
    return ReportError(absl::InvalidArgumentError("give one of --cfg and --model"),
                       "kdctl teacher import --cfg second.yaml --weights second.pth --out teachers/second");
  }
  const absl::Status detector = flags.config.empty() ? BuiltInDetector(flags.model).status()
                                                     : ReadPcdetConfig(flags.config, flags.section).status();
  if (!detector.ok()) {
    return ReportError(
        detector,
        flags.config.empty()
            ? "name a built-in detector with --model"
            : "name OpenPCDet's configuration of these weights with --cfg, or a built-in detector with --model");
  }
  if (const absl::Status weights = ReadWeights(flags.weights).status(); !weights.ok()) {
    return ReportError(weights,
                       "name a .pth that torch.save wrote, a TorchScript .pt or a .safetensors with --weights");
  }
  std::vector<std::string> arguments = {"import", "--section", flags.section, "--weights", flags.weights,
                                        "--out",  flags.out,   "--output",    flags.output};
  if (!flags.config.empty()) arguments.insert(arguments.end(), {"--cfg", flags.config});
  if (!flags.model.empty()) arguments.insert(arguments.end(), {"--model", flags.model});
  if (!flags.allow_missing.empty()) arguments.push_back(absl::StrCat("--allow-missing=", flags.allow_missing));
  return BecomeWorker(arguments);
}

constexpr char kConvertExample[] = "kdctl convert IN.pth OUT.safetensors, or IN.safetensors OUT.pth";

absl::StatusOr<std::string> Serialize(const SafeTensorsFile& weights, const std::string& path) {
  if (absl::EndsWith(path, ".safetensors")) return SerializeSafeTensors(weights);
  if (absl::EndsWith(path, ".pth")) return SerializeTorchCheckpoint(weights);
  return absl::InvalidArgumentError(
      absl::StrCat("\"", path, "\": the ending says what to write, .safetensors or .pth"));
}

int Convert(const std::string& from, const std::string& to) {
  const absl::StatusOr<TorchCheckpoint> checkpoint = ReadWeights(from);
  if (!checkpoint.ok()) return ReportError(checkpoint.status(), kConvertExample);
  const absl::StatusOr<std::string> bytes = Serialize(checkpoint->weights, to);
  if (!bytes.ok()) return ReportError(bytes.status(), kConvertExample);
  if (const absl::Status written = WriteFileAtomically(to, *bytes); !written.ok())
    return ReportError(written, "name a file in a folder that exists");
  std::cout << to << "\n";
  Say(absl::StrCat(checkpoint->weights.tensors.size(), " tensors",
                   checkpoint->section.empty() ? "" : absl::StrCat(" of ", checkpoint->section)));
  if (!checkpoint->weights.metadata.contains(kWeightsDetectorKey)) {
    SayNext(absl::StrCat("kdctl teacher import --cfg CONFIG.yaml --weights ", from,
                         " --out FOLDER, if a job shall learn from it"));
  }
  return kExitOk;
}

}  // namespace

void AddWeightsCommands(CLI::App& app, Session& session) {
  CLI::App* teacher =
      app.add_subcommand("teacher", "Teachers from elsewhere")->group("Students")->require_subcommand(1);
  const auto flags = std::make_shared<ImportFlags>();
  CLI::App* import =
      teacher->add_subcommand("import", "Turn a checkpoint of OpenPCDet into weights that a job's teacher takes");
  import->footer(
      "Examples:\n"
      "  kdctl teacher import --cfg second.yaml --weights second.pth --out teachers/second\n"
      "  kdctl teacher import --model pv_rcnn_kitti --weights pv_rcnn.pth --out teachers/pv_rcnn\n"
      "  kdctl teacher import --cfg second.yaml --weights second.pth --out teachers/second \\\n"
      "    --allow-missing 'dense_head.conv_dir_cls.*'     the direction classifier starts untrained");
  import->add_option("--cfg", flags->config, "OpenPCDet's configuration of these weights");
  import->add_option("--model", flags->model, "A built-in detector instead, such as pv_rcnn_kitti");
  import->add_option("--section", flags->section, "Section of the configuration, such as MODEL_TEACHER")
      ->capture_default_str();
  import->add_option("--weights", flags->weights, "Checkpoint (.pth), TorchScript (.pt) or .safetensors")->required();
  import->add_option("--out", flags->out, "FILE.safetensors, or a folder for model.safetensors")->required();
  // Without patterns: all.
  import
      ->add_option("--allow-missing", flags->allow_missing,
                   "Tensors that need not fit and then start untrained, such as 'dense_head.conv_dir_cls.*,vfe.*'; "
                   "without a pattern: all")
      ->expected(0, 1)
      ->default_str("*")
      ->option_text("[PATTERN,...]");
  import->add_option("-o,--output", flags->output, "Form of the report: table or json")
      ->check(CLI::IsMember({"table", "json"}));
  import->callback([&session, flags] { session.exit_code = Import(*flags); });

  const auto from = std::make_shared<std::string>(), to = std::make_shared<std::string>();
  CLI::App* convert =
      app.add_subcommand("convert", "Rewrite weights as .safetensors or .pth, tensor by tensor")->group("Students");
  convert->footer(
      "Examples:\n"
      "  kdctl convert second.pth second.safetensors\n"
      "  kdctl convert teachers/second/model.safetensors second.pth     for OpenPCDet");
  convert->add_option("IN", *from, "A .pth of torch.save, a TorchScript .pt, or a .safetensors")->required();
  convert->add_option("OUT", *to, "FILE.safetensors, or FILE.pth, which torch.load and OpenPCDet read")->required();
  convert->callback([&session, from, to] { session.exit_code = Convert(*from, *to); });
}

}  // namespace kd
