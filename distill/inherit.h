// Teacher-guided initialisation: a student's first weights from its teacher's (kd-methods.md section 2.6). No torch.
#ifndef KD_DISTILL_INHERIT_H_
#define KD_DISTILL_INHERIT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/safetensors.h"
#include "kd/v1/detector.pb.h"

namespace kd {

enum class InheritStrategy {
  // First channels of every source where several are concatenated, of the whole axis elsewhere.
  kFirstChannels,
  // First channels of every axis.
  kFnav1,
  // Tensors of equal shape only.
  kMatch,
};
// "first_channels", "fnav1", "match". INVALID_ARGUMENT quoting the name.
absl::StatusOr<InheritStrategy> ParseInheritStrategy(absl::string_view name);

// Widths of the sources that are concatenated into the input of a tensor (axis 1), by its name.
using ConcatenatedSources = std::map<std::string, std::vector<int64_t>>;
// Of CenterPoint on pillars: the head reads the deblocks' outputs; a pillar layer after the first reads [point,
// maximum].
ConcatenatedSources SourcesOf(const v1::Detector& detector);

// The student's state dictionary with every tensor that the strategy can fill taken from the teacher; tensors of equal
// shape are copied, tensors that the teacher lacks or that are wider than the teacher's stay as they are.
SafeTensorsFile InheritWeights(const SafeTensorsFile& teacher, const SafeTensorsFile& student, InheritStrategy strategy,
                               const ConcatenatedSources& teacher_sources, const ConcatenatedSources& student_sources);

}  // namespace kd

#endif  // KD_DISTILL_INHERIT_H_
