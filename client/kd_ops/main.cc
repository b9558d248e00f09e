// kd-ops: runs named operations on safetensors files and compares them with golden results.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "client/kd_ops/match_predictions.h"
#include "client/kd_ops/operation.h"
#include "models/detector.h"

namespace kd {
namespace {

namespace fs = std::filesystem;

struct Tolerance {
  double rtol = 1e-4, atol = 1e-5;
  // Names, with "*" as wildcard, that must match exactly.
  std::vector<std::string> exact;
};

struct LoadedCase {
  OperationCase input;
  TensorMap want;
  Tolerance tolerance;
};

bool MatchesPattern(absl::string_view text, absl::string_view pattern) {
  const size_t star = pattern.find('*');
  if (star == absl::string_view::npos) return text == pattern;
  if (!absl::StartsWith(text, pattern.substr(0, star))) return false;
  pattern.remove_prefix(star + 1);
  for (text.remove_prefix(star);; text.remove_prefix(1)) {
    if (MatchesPattern(text, pattern)) return true;
    if (text.empty()) return false;
  }
}

absl::StatusOr<LoadedCase> LoadCase(const fs::path& json_path) {
  KD_ASSIGN_OR_RETURN(const std::string text, ReadFile(json_path.string()));
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("op") || !json["op"].is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(json_path.string(), " is not a case: no \"op\""));
  }
  LoadedCase loaded;
  loaded.input.name = json.value("name", json_path.stem().string());
  loaded.input.op = json["op"].get<std::string>();
  loaded.input.document = json;
  loaded.input.hyper = json.value("hyper", nlohmann::json::object());
  const nlohmann::json tolerance = json.value("tolerance", nlohmann::json::object());
  loaded.tolerance.rtol = tolerance.value("rtol", loaded.tolerance.rtol);
  loaded.tolerance.atol = tolerance.value("atol", loaded.tolerance.atol);
  loaded.tolerance.exact = tolerance.value("exact", std::vector<std::string>{});

  const fs::path tensors_path = fs::path(json_path).replace_extension(".safetensors");
  if (!fs::exists(tensors_path)) return loaded;
  KD_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(tensors_path.string()));
  const absl::StatusOr<SafeTensorsFile> file = ParseSafeTensors(bytes);
  KD_RETURN_IF_ERROR(Annotate(file.status(), tensors_path.string()));
  for (const auto& [name, tensor] : file->tensors) {
    const torch::Tensor value = ToTorch(tensor);
    if (absl::StartsWith(name, "in.")) loaded.input.inputs[name.substr(3)] = value;
    if (absl::StartsWith(name, "param.")) loaded.input.parameters[name.substr(6)] = value;
    if (!absl::StartsWith(name, "out.") && !absl::StartsWith(name, "grad.")) continue;
    loaded.want[name] = value;
    loaded.input.wanted[name] = value.sizes().vec();
  }
  return loaded;
}

struct Comparison {
  bool ok = true;
  double max_abs = 0, max_rel = 0;
  std::string problem;
};

Comparison Compare(const TensorMap& got, const LoadedCase& loaded) {
  Comparison result;
  const auto fail = [&](const std::string& problem) {
    result.ok = false;
    if (result.problem.empty()) result.problem = problem;
  };
  for (const auto& [name, want] : loaded.want) {
    const auto found = got.find(name);
    if (found == got.end()) {
      fail(absl::StrCat(name, " was not computed"));
      continue;
    }
    if (!found->second.defined()) continue;
    const torch::Tensor value = found->second.detach().cpu();
    if (value.sizes() != want.sizes()) {
      fail(absl::StrCat(name, " has another shape: got ", value.dim() > 0 ? value.size(0) : 1, " rows"));
      continue;
    }
    if (want.numel() == 0) continue;
    const torch::Tensor a = value.to(torch::kFloat64), b = want.to(torch::kFloat64);
    // Two equal infinities or two NaNs agree.
    const torch::Tensor same = (a == b) | (torch::isnan(a) & torch::isnan(b));
    const torch::Tensor difference = torch::where(same, torch::zeros_like(a), (a - b).abs());
    const double max_abs = difference.max().item<double>();
    result.max_abs = std::isnan(max_abs) ? max_abs : std::max(result.max_abs, max_abs);
    result.max_rel = std::max(result.max_rel, (difference / b.abs().clamp_min(1e-12)).max().item<double>());
    const bool exact = std::any_of(loaded.tolerance.exact.begin(), loaded.tolerance.exact.end(),
                                   [&n = name](const std::string& pattern) { return MatchesPattern(n, pattern); });
    double atol = loaded.tolerance.atol;
    if (absl::StartsWith(name, "grad.")) atol = std::max(atol, 1e-4 * b.abs().max().item<double>());
    const torch::Tensor limit = exact ? torch::zeros_like(b) : atol + loaded.tolerance.rtol * b.abs();
    const torch::Tensor outside = torch::logical_not(difference <= limit);
    if (outside.any().item<bool>()) {
      fail(absl::StrCat(name, " differs in ", outside.sum().item<int64_t>(), " of ", want.numel(), " values"));
    }
  }
  return result;
}

std::vector<fs::path> CasesIn(const std::vector<std::string>& paths) {
  std::vector<fs::path> cases;
  for (const std::string& text : paths) {
    if (!fs::is_directory(text)) {
      cases.emplace_back(text);
      continue;
    }
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(text)) {
      if (entry.path().extension() == ".json") found.push_back(entry.path());
    }
    std::sort(found.begin(), found.end());
    cases.insert(cases.end(), found.begin(), found.end());
  }
  return cases;
}

// An operation's results; what torch throws at bad input becomes a status here.
absl::StatusOr<TensorMap> Run(const Operation& operation, const OperationCase& input) {
  try {
    return operation(input);
  } catch (const c10::Error& error) {
    return absl::InvalidArgumentError(error.what_without_backtrace());
  } catch (const nlohmann::json::exception& error) {
    return absl::InvalidArgumentError(error.what());
  }
}

std::string FirstLine(absl::string_view text) { return std::string(text.substr(0, text.find('\n'))); }

int Check(const OperationTable& table, const std::vector<std::string>& paths, bool allow_missing) {
  bool failed = false;
  const std::vector<fs::path> cases = CasesIn(paths);
  if (cases.empty()) {
    std::cerr << "kd-ops: no cases (NAME.json) found; name a folder or files\n";
    return 2;
  }
  for (const fs::path& path : cases) {
    const absl::StatusOr<LoadedCase> loaded = LoadCase(path);
    if (!loaded.ok()) {
      std::cout << "FAIL " << path.stem().string() << " " << loaded.status().message() << "\n";
      failed = true;
      continue;
    }
    const auto operation = table.find(loaded->input.op);
    if (operation == table.end()) {
      std::cout << "MISSING " << loaded->input.name << " op=" << loaded->input.op << "\n";
      failed = failed || !allow_missing;
      continue;
    }
    const absl::StatusOr<TensorMap> got = Run(operation->second, loaded->input);
    Comparison comparison;
    if (got.ok()) {
      const Tolerance& tolerance = loaded->tolerance;
      comparison = Compare(MatchPredictions(*got, loaded->want, tolerance.rtol, tolerance.atol), *loaded);
    } else {
      comparison = {.ok = false, .problem = FirstLine(got.status().message())};
    }
    std::printf("%s %s max_abs=%.3g max_rel=%.3g%s%s\n", comparison.ok ? "ok" : "FAIL", loaded->input.name.c_str(),
                comparison.max_abs, comparison.max_rel, comparison.problem.empty() ? "" : " ",
                comparison.problem.c_str());
    std::fflush(stdout);
    failed = failed || !comparison.ok;
  }
  return failed ? 1 : 0;
}

absl::Status RunOne(const OperationTable& table, const std::string& path, const std::string& out) {
  KD_ASSIGN_OR_RETURN(const LoadedCase loaded, LoadCase(path));
  const auto operation = table.find(loaded.input.op);
  if (operation == table.end()) {
    return absl::NotFoundError(absl::StrCat("no operation \"", loaded.input.op, "\"; `kd-ops list` names all"));
  }
  KD_ASSIGN_OR_RETURN(const TensorMap results, Run(operation->second, loaded.input));
  SafeTensorsFile file;
  for (const auto& [name, tensor] : results) {
    if (tensor.defined()) file.tensors[name] = FromTorch(tensor);
  }
  return WriteFileAtomically(out, SerializeSafeTensors(file));
}

int Main(int argc, char** argv) {
  CLI::App app{"Runs named operations on safetensors files and compares them with golden results"};
  app.require_subcommand(1);
  std::vector<std::string> paths;
  bool allow_missing = false;
  CLI::App* check = app.add_subcommand("check", "Compare cases with their expected results; a PATH may be a folder");
  check->add_option("PATH", paths, "NAME.json files or folders of them")->required();
  check->add_flag("--allow-missing", allow_missing, "An operation that does not exist is no failure");
  std::string path, out;
  CLI::App* run = app.add_subcommand("run", "Run one case and write its results");
  run->add_option("CASE", path, "NAME.json, with NAME.safetensors beside it")->required();
  run->add_option("--out", out, "Safetensors file for the results")->required();
  CLI::App* list = app.add_subcommand("list", "Name all operations");
  CLI11_PARSE(app, argc, argv);

  OperationTable table;
  AddDataOperations(table);
  AddMathOperations(table);
  AddModelOperations(table);
  AddDetectorOperations(table);
  AddManifestOperations(table);
  AddSparseOperations(table);
  AddSparseKdOperations(table);
  if (check->parsed()) return Check(table, paths, allow_missing);
  if (list->parsed()) {
    for (const auto& [name, operation] : table) std::cout << name << "\n";
    return 0;
  }
  const absl::Status status = RunOne(table, path, out);
  if (!status.ok()) std::cerr << "kd-ops: " << FirstLine(status.message()) << "\n";
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace kd

int main(int argc, char** argv) { return kd::Main(argc, argv); }
