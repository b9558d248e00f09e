#include "eval/assignment.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <utility>

namespace kd {
namespace {

constexpr int64_t kFar = std::numeric_limits<int64_t>::max();

// Rows enter one after the other. Invariant: row_price + column_price is nowhere below the weight, and equal to it for
// the pairs made ("tight"); no price is below 0, and that of a row without a column and of a column without a row is 0.
class Assignment {
 public:
  explicit Assignment(const std::vector<std::vector<int64_t>>& weights)
      : weights_(weights),
        row_price_(weights.size()),
        column_price_(weights[0].size()),
        column_of_(weights.size(), -1),
        row_of_(weights[0].size(), -1) {}

  std::vector<int> Solve() && {
    for (size_t row = 0; row < weights_.size(); ++row) Enter(static_cast<int>(row));
    return std::move(column_of_);
  }

 private:
  // Rows that can be reached from the entering one by tight pairs, and how far other places are from being tight. A row
  // whose price is 0 can do without a column.
  struct Tree {
    explicit Tree(size_t columns) : slack(columns, kFar), parent(columns, -1), done(columns) {}

    std::vector<int> rows;
    // Of columns: the least slack to a row of the tree, the place in `rows` of the first one that has it.
    std::vector<int64_t> slack;
    std::vector<int> parent;
    std::vector<bool> done;
    // The least price, and the place in `rows` of the first one that has it.
    int64_t least_price = kFar;
    int cheapest = -1;
  };

  void Enter(int row) {
    row_price_[row] = *std::max_element(weights_[row].begin(), weights_[row].end());
    Tree tree(column_price_.size());
    for (int reached = row; reached >= 0;) {
      Grow(tree, reached);
      LowerPrices(tree);
      const int column = NearestTight(tree);
      if (tree.least_price == 0 && (column < 0 || tree.parent[column] >= tree.cheapest)) {
        return Exchange(tree, tree.cheapest, -1);
      }
      tree.done[column] = true;
      reached = row_of_[column];
      if (reached < 0) Exchange(tree, tree.parent[column], column);
    }
  }

  void Grow(Tree& tree, int row) const {
    const int place = static_cast<int>(tree.rows.size());
    tree.rows.push_back(row);
    for (size_t j = 0; j < tree.slack.size(); ++j) {
      const int64_t slack = row_price_[row] + column_price_[j] - weights_[row][j];
      if (tree.done[j] || weights_[row][j] == 0 || slack >= tree.slack[j]) continue;
      tree.slack[j] = slack;
      tree.parent[j] = place;
    }
    if (row_price_[row] >= tree.least_price) return;
    tree.least_price = row_price_[row];
    tree.cheapest = place;
  }

  // Until something is tight that was not.
  void LowerPrices(Tree& tree) {
    int64_t step = tree.least_price;
    for (size_t j = 0; j < tree.slack.size(); ++j) {
      if (!tree.done[j]) step = std::min(step, tree.slack[j]);
    }
    for (const int row : tree.rows) row_price_[row] -= step;
    for (size_t j = 0; j < tree.slack.size(); ++j) {
      if (tree.done[j]) column_price_[j] += step;
      if (!tree.done[j] && tree.parent[j] >= 0) tree.slack[j] -= step;
    }
    tree.least_price -= step;
  }

  static int NearestTight(const Tree& tree) {
    int nearest = -1;
    for (size_t j = 0; j < tree.slack.size(); ++j) {
      if (tree.done[j] || tree.slack[j] > 0) continue;
      if (nearest < 0 || tree.parent[j] < tree.parent[nearest]) nearest = static_cast<int>(j);
    }
    return nearest;
  }

  // Gives `column` (-1: none) to the row at `place`, the column that this one had to the row before, and so on.
  void Exchange(const Tree& tree, int place, int column) {
    while (true) {
      const int row = tree.rows[place], given_up = column_of_[row];
      column_of_[row] = column;
      if (column >= 0) row_of_[column] = row;
      if (place == 0) return;
      column = given_up;
      place = tree.parent[given_up];
    }
  }

  const std::vector<std::vector<int64_t>>& weights_;
  std::vector<int64_t> row_price_, column_price_;
  std::vector<int> column_of_, row_of_;
};

}  // namespace

std::vector<int> MaximumWeightAssignment(const std::vector<std::vector<int64_t>>& weights) {
  if (weights.empty() || weights[0].empty()) return std::vector<int>(weights.size(), -1);
  return Assignment(weights).Solve();
}

}  // namespace kd
