// Lists on stdout, in every format that scripts and people ask for.
#ifndef KD_CLIENT_TABLE_H_
#define KD_CLIENT_TABLE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace kd {

// What -o takes: table, wide, json, yaml, csv, name.
const std::vector<std::string>& ListFormats();

struct Column {
  std::string title;
  // Only in wide and csv.
  bool wide = false;
  // Longer cells are cut to so many bytes, in table alone; 0: never.
  size_t cut = 0;
};

struct Table {
  std::vector<Column> columns;
  struct Row {
    // What identifies it in other commands.
    std::string name;
    // One per column.
    std::vector<std::string> cells;
    // Everything there is to know.
    nlohmann::ordered_json json;
  };
  std::vector<Row> rows;
};

// table, wide: aligned columns under their titles, "-" for an empty cell, line ends as blanks,
// nothing at all without rows. csv: RFC 4180
// with a title line. json, yaml: a list of the rows' json. name: one name a line.
std::string RenderTable(const Table& table, absl::string_view format);

}  // namespace kd

#endif  // KD_CLIENT_TABLE_H_
