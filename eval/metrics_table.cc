#include "eval/metrics_table.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace kd {
namespace {

struct Measure {
  std::string name;
  // Ends of the names of its scores.
  std::vector<std::string> columns;
};

const std::vector<Measure>& Measures() {
  static const auto* const measures = new std::vector<Measure>{{"kitti", {"easy/R40", "moderate/R40", "hard/R40"}},
                                                               {"nuscenes", {"AP"}},
                                                               {"waymo", {"L1/AP", "L1/APH", "L2/AP", "L2/APH"}},
                                                               {"lidar", {"all", "0-30m", "30-50m", "50m+"}}};
  return *measures;
}

struct Cell {
  std::string row;
  size_t column;
};

using Rows = std::map<std::string, std::vector<std::string>>;

// Nothing: the score stands alone.
std::optional<Cell> CellOf(const Measure& measure, absl::string_view name) {
  if (!absl::ConsumePrefix(&name, absl::StrCat(measure.name, "/"))) return std::nullopt;
  for (size_t i = 0; i < measure.columns.size(); ++i) {
    if (absl::ConsumeSuffix(&name, absl::StrCat("/", measure.columns[i]))) return Cell{std::string(name), i};
  }
  return std::nullopt;
}

// Names stand left, as wide as the longest one, numbers right.
void AddRows(const Rows& rows, const std::string& title, const std::vector<std::string>& columns, std::string& text) {
  if (rows.empty()) return;
  if (!text.empty()) text += "\n";
  size_t width = title.size();
  for (const auto& [name, cells] : rows) width = std::max(width, name.size());
  const auto add = [&](const std::string& name, const std::vector<std::string>& cells) {
    absl::StrAppendFormat(&text, "%-*s", static_cast<int>(width), name);
    for (const std::string& cell : cells) absl::StrAppendFormat(&text, " %12s", cell);
    text += "\n";
  };
  if (!title.empty()) add(title, columns);
  for (const auto& [name, cells] : rows) add(name, cells);
}

}  // namespace

std::string MetricsToTable(const std::map<std::string, double>& metrics) {
  Rows alone;
  for (const auto& [name, value] : metrics) alone[name] = {absl::StrFormat("%.4f", value)};
  std::string tables;
  for (const Measure& measure : Measures()) {
    Rows rows;
    for (const auto& [name, value] : metrics) {
      const std::optional<Cell> cell = CellOf(measure, name);
      if (!cell.has_value()) continue;
      alone.erase(name);
      rows.try_emplace(cell->row, measure.columns.size(), "-").first->second[cell->column] =
          absl::StrFormat("%.2f", value);
    }
    AddRows(rows, measure.name, measure.columns, tables);
  }
  std::string text;
  AddRows(alone, "", {}, text);
  return absl::StrCat(text, text.empty() || tables.empty() ? "" : "\n", tables);
}

}  // namespace kd
