#include "client/doctor.h"

#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "client/json.h"
#include "client/session.h"

namespace kd {
namespace {

struct Result {
  std::string id, state, text, remedy;
};

Result Run(const Check& check) {
  const absl::StatusOr<std::string> found = check.run();
  if (found.ok()) return {check.id, "ok", *found, ""};
  const std::string message(found.status().message());
  if (absl::IsCancelled(found.status())) return {check.id, "skipped", message, ""};
  return {check.id, "failed", message, check.remedy};
}

void Print(const Result& result) {
  const bool ok = result.state == "ok", failed = result.state == "failed";
  const absl::string_view mark = ok ? "\u2713" : failed ? "\u2717" : "-";
  const absl::string_view colour = ok ? "\x1b[32m" : failed ? "\x1b[31m" : "";
  const bool paint = MayColour() && !colour.empty();
  std::cout << absl::StrFormat("%s%s%s %-17s %s\n", paint ? colour : "", mark, paint ? "\x1b[0m" : "", result.id,
                               result.text);
  if (failed) std::cout << absl::StrFormat("  %-17s do: %s\n", "", result.remedy);
}

struct DoctorFlags {
  DoctorOptions options;
  std::string output = "table";
};

int Doctor(const DoctorFlags& flags, const Session& session) {
  DoctorOptions options = flags.options;
  options.fleet = session.fleet;
  nlohmann::ordered_json report = nlohmann::ordered_json::array();
  std::string group;
  int failures = 0;
  for (const Check& check : DoctorChecks(options)) {
    const Result result = Run(check);
    failures += result.state == "failed";
    if (flags.output == "json") {
      report.push_back({{"id", result.id}, {"state", result.state}, {"text", result.text}, {"remedy", result.remedy}});
      continue;
    }
    const std::string its_group = result.id.substr(0, result.id.find('.'));
    if (its_group != group) std::cout << (group.empty() ? "" : "\n") << its_group << "\n";
    group = its_group;
    Print(result);
  }
  if (flags.output == "json") std::cout << JsonToText(report);
  if (failures > 0) {
    std::cout.flush();
    return ReportError(
        absl::FailedPreconditionError(absl::StrCat(failures, failures == 1 ? " check" : " checks", " failed")),
        "what stands under each of them, then kdctl doctor again");
  }
  SayNext(options.pre ? "kd-fleet" : "kdctl submit FILE --dry-run");
  return kExitOk;
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Session& session) {
  const auto flags = std::make_shared<DoctorFlags>();
  CLI::App* doctor = app.add_subcommand("doctor", "Check client, disk, data, fleet and registry")->group("Fleet");
  doctor->add_flag("--pre", flags->options.pre, "Only what can be checked before a fleet runs");
  doctor->add_option("--file", flags->options.file, "Job file whose data set is checked, too");
  doctor->add_option("--min-free", flags->options.min_free_bytes, "Free disk space wanted, such as 20GB")
      ->transform(CLI::AsSizeValue(true))
      ->default_str("1GB");
  doctor->add_option("-o,--output", flags->output, "table or json")->check(CLI::IsMember({"table", "json"}));
  doctor->callback([&session, flags] { session.exit_code = Doctor(*flags, session); });
}

}  // namespace kd
