// How the tensors of a checkpoint fit the parameters of a detector, and where they do not, why.
#ifndef KD_CORE_STATE_REPORT_H_
#define KD_CORE_STATE_REPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/safetensors.h"

namespace kd {

// A parameter or buffer that a detector has. Kernels of sparse convolutions have 5 axes: (out, kz, ky, kx, in).
struct StateEntry {
  std::string name;
  std::string dtype;  // as SafeTensor's
  std::vector<int64_t> shape;
};

struct StateFinding {
  std::string name;
  // Of the checkpoint, of the detector; empty where it has no such tensor.
  std::vector<int64_t> have, want;
  // A known cause and what to look at; empty where none is known.
  std::string cause;
};

struct StateReport {
  size_t wanted = 0;
  // Names that fit, with those that were converted.
  size_t matched = 0;
  // Kernels that had another layout.
  std::vector<StateFinding> converted;
  std::vector<StateFinding> missing, unexpected, mismatched;
  // Of the checkpoint, not needed here, or of the detector and of no effect: counters of steps and batches.
  std::vector<std::string> ignored;
  // Which layout the file's kernels have and which layer told it; empty where all are as ours.
  std::string kernels;

  bool Fits() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
};

// Compares `weights` with `wanted` by name and leaves in `weights` the tensors that fit, kernels in our layout. The
// layout (spconv 1: kz ky kx in out; spconv 2 native: kz ky kx out in; spconv 2: ours) is decided once for the file, by
// layers whose shape allows one alone. Floating-point numbers of any width fit each other, as do integers; only loading
// converts them.
StateReport FitState(const std::vector<StateEntry>& wanted, std::map<std::string, SafeTensor>& weights);

// Names of what does not fit, but for those that one of `patterns` names as a shell's patterns name files: "*" is all.
std::vector<std::string> UnfitNames(const StateReport& report, const std::vector<std::string>& patterns);

// Some lines for people: counts, then findings by cause, the first few of each.
std::string StateReportToText(const StateReport& report);

// Everything, as JSON.
std::string StateReportToJson(const StateReport& report);

}  // namespace kd

#endif  // KD_CORE_STATE_REPORT_H_
