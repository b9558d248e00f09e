// kdctl export: a trained detector for another runtime.
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>
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
  std::error_code error;
  const bool folder = std::filesystem::is_directory(model, error);
  KD_ASSIGN_OR_RETURN(source.weights, ReadFile(folder ? model + "/model.safetensors" : model));
  if (const std::string pair = model + "/pair.yaml"; folder && std::filesystem::exists(pair, error)) {
    KD_ASSIGN_OR_RETURN(source.pair_yaml, ReadFile(pair));
  }
  return source;
}

absl::Status WriteAll(const std::vector<ExportFile>& files, const std::filesystem::path& folder) {
  KD_RETURN_IF_ERROR(CreateFolders(folder.string()));
  for (const ExportFile& file : files)
    KD_RETURN_IF_ERROR(WriteFileAtomically((folder / file.name).string(), file.bytes));
  return absl::OkStatus();
}

// All files or none: they come to be in a folder beside `out`, which then takes its name.
// ALREADY_EXISTS: something is there that is no empty folder.
absl::Status WriteFolder(const std::vector<ExportFile>& files, const std::string& out) {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::absolute(out, error).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_empty(folder, error))
    return absl::AlreadyExistsError(absl::StrCat("\"", out, "\" exists already; nothing was written"));
  const std::filesystem::path partial =
      folder.parent_path() / absl::StrCat(".", folder.filename().string(), ".", ::getpid(), ".partial");
  absl::Status status = WriteAll(files, partial);
  if (status.ok()) {
    std::filesystem::rename(partial, folder, error);
    if (error) status = absl::ErrnoToStatus(error.value(), absl::StrCat("cannot make \"", out, "\""));
  }
  if (!status.ok()) {
    std::filesystem::remove_all(partial, error);
    return status;
  }
  for (const ExportFile& file : files) Say(absl::StrCat("  ", file.name, "  ", file.bytes.size(), " bytes"));
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
  if (const absl::Status status = WriteFolder(*files, flags.out); !status.ok()) {
    return ReportError(status, "name a new folder with --out");
  }
  std::cout << flags.out << "\n";
  return kExitOk;
}

}  // namespace

void AddExportCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<ExportFlags>();
  CLI::App* command =
      app.add_subcommand("export", "Write a student for another runtime; prints the folder")->group("Students");
  command->footer(
      "Examples:\n"
      "  kdctl pull registry://students/sim-all:v1\n"
      "  kdctl export sim-all --target onnx --out out/sim-all-onnx\n"
      "  kdctl export sim-all --target graph --out out/sim-all-graph     takes detectors on voxels, too");
  command->add_option("MODEL", flags->model, "model.safetensors, or a folder that kdctl pull made")->required();
  command->add_option("--target", flags->target, absl::StrCat("One of ", absl::StrJoin(ExportTargetNames(), ", ")))
      ->capture_default_str();
  command->add_option("--out", flags->out, "New folder")->required();
  command->callback([&session, flags] { session.exit_code = Export(*flags); });
}

}  // namespace kd
