// The linear assignment problem.
#ifndef KD_EVAL_ASSIGNMENT_H_
#define KD_EVAL_ASSIGNMENT_H_

#include <cstdint>
#include <vector>

namespace kd {

// Pairs rows with columns, each at most once, so that the sum of `weights[row][column]` is largest; a weight of 0 (none
// may be below) is no pair. Returns the column of every row, or -1. All rows have one length. Shortest augmenting
// paths: at most (shorter side)^2 * (longer side) steps.
std::vector<int> MaximumWeightAssignment(const std::vector<std::vector<int64_t>>& weights);

}  // namespace kd

#endif  // KD_EVAL_ASSIGNMENT_H_
