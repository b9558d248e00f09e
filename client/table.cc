#include "client/table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/text.h"
#include "client/json.h"

namespace kd {
namespace {

constexpr size_t kGap = 2;

std::string ScreenCell(const std::string& text, size_t cut) {
  if (text.empty()) return "-";
  const std::string cell = OneLine(text);
  if (cut == 0 || cell.size() <= cut) return cell;
  size_t end = cut;
  // UTF-8 sequences stay whole.
  while (end > 0 && (static_cast<unsigned char>(cell[end]) & 0xC0) == 0x80) --end;
  return cell.substr(0, end) + "..";
}

std::string RenderColumns(const Table& table, bool wide) {
  if (table.rows.empty()) return "";
  std::vector<size_t> shown;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (wide || !table.columns[i].wide) shown.push_back(i);
  }
  std::vector<std::vector<std::string>> lines(1);
  for (const size_t i : shown) lines[0].push_back(table.columns[i].title);
  for (const Table::Row& row : table.rows) {
    std::vector<std::string>& line = lines.emplace_back();
    for (const size_t i : shown) line.push_back(ScreenCell(row.cells[i], wide ? 0 : table.columns[i].cut));
  }
  std::vector<size_t> widths(shown.size(), 0);
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string out;
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) {
      const bool last = i + 1 == line.size();
      absl::StrAppend(&out, line[i], last ? "\n" : std::string(widths[i] - line[i].size() + kGap, ' '));
    }
  }
  return out;
}

std::string CsvCell(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string RenderCsv(const Table& table) {
  std::string out;
  const auto write = [&out](size_t i, const std::string& text) {
    absl::StrAppend(&out, i == 0 ? "" : ",", CsvCell(text));
  };
  for (size_t i = 0; i < table.columns.size(); ++i) write(i, table.columns[i].title);
  out += "\r\n";
  for (const Table::Row& row : table.rows) {
    for (size_t i = 0; i < row.cells.size(); ++i) write(i, row.cells[i]);
    out += "\r\n";
  }
  return out;
}

}  // namespace

const std::vector<std::string>& ListFormats() {
  static const auto* const formats = new std::vector<std::string>{"table", "wide", "json", "yaml", "csv", "name"};
  return *formats;
}

std::string RenderTable(const Table& table, absl::string_view format) {
  if (format == "csv") return RenderCsv(table);
  if (format == "name") {
    std::string out;
    for (const Table::Row& row : table.rows) absl::StrAppend(&out, row.name, "\n");
    return out;
  }
  if (format == "json" || format == "yaml") {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Table::Row& row : table.rows) list.push_back(row.json);
    return format == "json" ? JsonToText(list) : JsonToYaml(list);
  }
  return RenderColumns(table, format == "wide");
}

}  // namespace kd
