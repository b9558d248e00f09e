// kdctl export: a trained detector for another runtime.
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/status.h"
#include "client/session.h"
#include "core/model_export.h"

namespace kd {
namespace {

struct ExportFlags {
  std::string model, target = "onnx", out;
};

// `model` is a weights file, or a folder that kdctl pull made.
absl::StatusOr<ExportSource> ReadSource(const std::string& model) {
  ExportSource source;
  const bool folder = std::filesystem::is_directory(model);
  KD_ASSIGN_OR_RETURN(source.weights, ReadFile(folder ? model + "/model.safetensors" : model));
  if (const std::string pair = model + "/pair.yaml"; folder && std::filesystem::exists(pair)) {
    KD_ASSIGN_OR_RETURN(source.pair_yaml, ReadFile(pair));
  }
  return source;
}

absl::Status WriteAll(const std::vector<ExportFile>& files, const std::string& folder) {
  KD_RETURN_IF_ERROR(CreateFolders(folder));
  for (const ExportFile& file : files) {
    KD_RETURN_IF_ERROR(WriteFileAtomically(absl::StrCat(folder, "/", file.name), file.bytes));
    Say(absl::StrCat("  ", file.name, "  ", file.bytes.size(), " bytes"));
  }
  return absl::OkStatus();
}

int Export(const ExportFlags& flags) {
  const absl::StatusOr<ExportTarget> target = ParseExportTarget(flags.target);
  if (!target.ok()) return ReportError(target.status(), "kdctl export --help");
  const absl::StatusOr<ExportSource> source = ReadSource(flags.model);
  if (!source.ok()) return ReportError(source.status(), "name a model.safetensors or a folder that kdctl pull made");
  const absl::StatusOr<std::vector<ExportFile>> files = ExportModel(*source, *target);
  if (!files.ok()) {
    return ReportError(
        Annotate(files.status(), flags.model),
        absl::StrCat("name weights that a job of kdfleet wrote, of a detector of one stage; kdctl export ", flags.model,
                     " --target graph takes those on voxels, too"));
  }
  if (const absl::Status status = WriteAll(*files, flags.out); !status.ok()) {
    return ReportError(status, "choose another folder with --out");
  }
  std::cout << flags.out << "\n";
  return kExitOk;
}

}  // namespace

void AddExportCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<ExportFlags>();
  CLI::App* command =
      app.add_subcommand("export", "Write a student for another runtime; prints the folder")->group("Students");
  command->add_option("MODEL", flags->model, "model.safetensors, or a folder that kdctl pull made")->required();
  command->add_option("--target", flags->target, absl::StrCat("One of ", absl::StrJoin(ExportTargetNames(), ", ")))
      ->capture_default_str();
  command->add_option("--out", flags->out, "Folder to write")->required();
  command->callback([&session, flags] { session.exit_code = Export(*flags); });
}

}  // namespace kd
