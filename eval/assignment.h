// The linear assignment problem.
#ifndef KD_EVAL_ASSIGNMENT_H_
#define KD_EVAL_ASSIGNMENT_H_

#include <cstdint>
#include <vector>

namespace kd {

// Pairs rows with columns, each at most once, so that the sum of `weights[row][column]` is largest; a weight of 0 (none
// may be below) is no pair. Returns the column of every row, or -1. All rows have one length. Of several such pairings
// it is that of Kuhn's and Munkres's method whose rows enter in their order and whose trees grow in the order of their
// rows, then of the columns, as in Waymo's tool: of equal rows the first one stays. At most rows * columns^2 steps.
std::vector<int> MaximumWeightAssignment(const std::vector<std::vector<int64_t>>& weights);

}  // namespace kd

#endif  // KD_EVAL_ASSIGNMENT_H_
