// kdctl validate, explain, schema and pull: files of jobs and of students.
#include <iostream>
#include <memory>
#include <string>

#include "base/file.h"
#include "client/pull.h"
#include "client/session.h"
#include "core/pair.h"

namespace kd {
namespace {

int Validate(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return ReportError(text.status(), kNameAJobFile);
  const absl::StatusOr<v1::Pair> pair = ParsePair(*text, path);
  if (!pair.ok()) return ReportError(pair.status(), "kdctl explain pair");
  std::cout << PairToYaml(*pair);
  SayNext("kdctl submit " + path + " --dry-run");
  return kExitOk;
}

int Explain(const std::string& path) {
  const absl::StatusOr<std::string> text = ExplainPair(path);
  if (!text.ok()) return ReportError(text.status(), "kdctl explain pair");
  std::cout << *text;
  return kExitOk;
}

// The fleet knows its registry; the default is for a registry without a fleet.
int PullFromFleet(PullOptions options, const Session& session) {
  if (options.registry.empty()) {
    FleetOptions quick = session.fleet;
    quick.deadline = kGlance;
    const absl::StatusOr<v1::Fleet> fleet = FleetClient(quick).GetFleet();
    options.registry = fleet.ok() && !fleet->registry_url().empty() ? fleet->registry_url() : kDefaultRegistry;
  }
  return Pull(options);
}

}  // namespace

void AddFileCommands(CLI::App& app, Session& session) {
  const auto file = std::make_shared<std::string>();
  CLI::App* validate =
      app.add_subcommand("validate", "Check a job file and print it with all defaults")->group("Job files");
  validate->add_option("FILE", *file, "Job file")->required();
  validate->callback([&session, file] { session.exit_code = Validate(*file); });

  const auto path = std::make_shared<std::string>("pair");
  CLI::App* explain = app.add_subcommand("explain", "Document the job file")->group("Job files");
  explain->add_option("PATH", *path, "Such as pair.distill or pair.train.lr");
  explain->callback([&session, path] { session.exit_code = Explain(*path); });

  app.add_subcommand("schema", "JSON Schema of the job file, for editors")->group("Job files")->callback([] {
    std::cout << PairJsonSchema() << "\n";
  });

  const auto options = std::make_shared<PullOptions>();
  CLI::App* pull =
      app.add_subcommand("pull", "Fetch a student or teacher from the registry; prints the folder")->group("Students");
  pull->add_option("REFERENCE", options->reference, "registry://students/NAME:v1, or students/NAME@sha256:...")
      ->required();
  pull->add_option("-o,--out", options->out, "Folder to write; default: the repository's last part");
  pull->add_option("--registry", options->registry,
                   "URL of the registry; default: the fleet's, or http://127.0.0.1:7071")
      ->envname("KD_REGISTRY");
  pull->footer(
      "Examples:\n"
      "  kdctl pull registry://students/sim-all:v1              into the folder sim-all\n"
      "  kdctl pull registry://teachers/sim:v1 -o out/teacher");
  pull->callback([&session, options] { session.exit_code = PullFromFleet(*options, session); });
}

}  // namespace kd
