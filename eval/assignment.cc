#include "eval/assignment.h"

#include <cstddef>
#include <limits>

namespace kd {
namespace {

constexpr int64_t kFar = std::numeric_limits<int64_t>::max() / 4;

std::vector<std::vector<int64_t>> Transposed(const std::vector<std::vector<int64_t>>& m) {
  std::vector<std::vector<int64_t>> result(m[0].size(), std::vector<int64_t>(m.size()));
  for (size_t i = 0; i < m.size(); ++i) {
    for (size_t j = 0; j < m[i].size(); ++j) result[j][i] = m[i][j];
  }
  return result;
}

// Column of every row for no more rows than columns. Rows enter one after the other, each along the cheapest chain of
// exchanges. Invariant: -weight - row_price - column_price is never negative, and 0 for the pairs made.
std::vector<int> AssignWide(const std::vector<std::vector<int64_t>>& weights) {
  const int rows = static_cast<int>(weights.size()), columns = static_cast<int>(weights[0].size());
  std::vector<int64_t> row_price(rows), column_price(columns);
  std::vector<int> row_of(columns, -1);
  for (int entering = 0; entering < rows; ++entering) {
    // Dijkstra over columns; `from` is the column before on the cheapest chain, -1 at its start.
    std::vector<int64_t> distance(columns, kFar);
    std::vector<int> from(columns, -1);
    std::vector<bool> done(columns);
    int row = entering, last = -1;
    int64_t reached = 0;
    while (true) {
      int next = -1;
      for (int j = 0; j < columns; ++j) {
        if (done[j]) continue;
        const int64_t step = reached - weights[row][j] - row_price[row] - column_price[j];
        if (step < distance[j]) {
          distance[j] = step;
          from[j] = last;
        }
        if (next < 0 || distance[j] < distance[next]) next = j;
      }
      done[next] = true;
      reached = distance[next];
      last = next;
      if (row_of[next] < 0) break;
      row = row_of[next];
    }
    row_price[entering] += reached;
    for (int j = 0; j < columns; ++j) {
      if (!done[j] || j == last) continue;
      row_price[row_of[j]] += reached - distance[j];
      column_price[j] -= reached - distance[j];
    }
    for (int j = last; j >= 0; j = from[j]) row_of[j] = from[j] < 0 ? entering : row_of[from[j]];
  }
  std::vector<int> column_of(rows, -1);
  for (int j = 0; j < columns; ++j) {
    if (row_of[j] >= 0 && weights[row_of[j]][j] > 0) column_of[row_of[j]] = j;
  }
  return column_of;
}

}  // namespace

std::vector<int> MaximumWeightAssignment(const std::vector<std::vector<int64_t>>& weights) {
  if (weights.empty() || weights[0].empty()) return std::vector<int>(weights.size(), -1);
  if (weights.size() <= weights[0].size()) return AssignWide(weights);
  const std::vector<int> row_of = AssignWide(Transposed(weights));
  std::vector<int> column_of(weights.size(), -1);
  for (size_t j = 0; j < row_of.size(); ++j) {
    if (row_of[j] >= 0) column_of[row_of[j]] = static_cast<int>(j);
  }
  return column_of;
}

}  // namespace kd
