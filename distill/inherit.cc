#include "distill/inherit.h"

#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace kd {
namespace {

std::vector<int64_t> FirstOf(int64_t count) {
  std::vector<int64_t> kept(count);
  std::iota(kept.begin(), kept.end(), 0);
  return kept;
}

// The first channels of each source; empty when the sources do not fit the axis.
std::vector<int64_t> FirstOfEach(const std::vector<int64_t>& teacher, const std::vector<int64_t>& student) {
  std::vector<int64_t> kept;
  int64_t start = 0;
  for (size_t i = 0; i < teacher.size() && i < student.size(); ++i) {
    if (student[i] > teacher[i]) return {};
    for (int64_t c = 0; c < student[i]; ++c) kept.push_back(start + c);
    start += teacher[i];
  }
  return kept;
}

int64_t Product(const std::vector<int64_t>& shape, size_t from) {
  return std::accumulate(shape.begin() + static_cast<long>(from), shape.end(), int64_t{1}, std::multiplies<>());
}

// Rows `kept[axis]` along every axis.
std::string Slice(const SafeTensor& tensor, const std::vector<std::vector<int64_t>>& kept) {
  const int64_t element = SafeTensorElementSize(tensor.dtype);
  std::string out;
  const auto visit = [&](const auto& self, size_t axis, int64_t offset) -> void {
    if (axis == kept.size()) {
      out.append(tensor.bytes, static_cast<size_t>(offset * element), static_cast<size_t>(element));
      return;
    }
    const int64_t stride = Product(tensor.shape, axis + 1);
    for (const int64_t index : kept[axis]) self(self, axis + 1, offset + index * stride);
  };
  visit(visit, 0, 0);
  return out;
}

}  // namespace

absl::StatusOr<InheritStrategy> ParseInheritStrategy(absl::string_view name) {
  if (name == "first_channels") return InheritStrategy::kFirstChannels;
  if (name == "fnav1") return InheritStrategy::kFnav1;
  if (name == "match") return InheritStrategy::kMatch;
  return absl::InvalidArgumentError(
      absl::StrCat("inheritance strategy \"", name, "\" is not known; use first_channels, fnav1 or match"));
}

ConcatenatedSources SourcesOf(const v1::Detector& detector) {
  ConcatenatedSources sources;
  const auto& up = detector.backbone_2d().num_upsample_filters();
  for (const char* reader : {"shared_conv.0", "conv_cls", "conv_box", "conv_dir_cls", "conv_iou"}) {
    sources[absl::StrCat("dense_head.", reader, ".weight")] = std::vector<int64_t>(up.begin(), up.end());
  }
  for (int i = 1; i < detector.vfe().num_filters_size(); ++i) {
    const int64_t half = detector.vfe().num_filters(i - 1) / 2;
    sources[absl::StrCat("vfe.pfn_layers.", i, ".linear.weight")] = {half, half};
  }
  return sources;
}

SafeTensorsFile InheritWeights(const SafeTensorsFile& teacher, const SafeTensorsFile& student, InheritStrategy strategy,
                               const ConcatenatedSources& teacher_sources, const ConcatenatedSources& student_sources) {
  SafeTensorsFile result = student;
  for (auto& [name, tensor] : result.tensors) {
    const auto source = teacher.tensors.find(name);
    if (source == teacher.tensors.end() || source->second.dtype != tensor.dtype ||
        source->second.shape.size() != tensor.shape.size()) {
      continue;
    }
    const SafeTensor& from = source->second;
    if (from.shape == tensor.shape) {
      tensor.bytes = from.bytes;
      continue;
    }
    if (strategy == InheritStrategy::kMatch) continue;
    std::vector<std::vector<int64_t>> kept;
    bool fits = true;
    for (size_t axis = 0; axis < tensor.shape.size(); ++axis) {
      fits = fits && tensor.shape[axis] <= from.shape[axis];
      kept.push_back(FirstOf(tensor.shape[axis]));
    }
    const auto teacher_parts = teacher_sources.find(name), student_parts = student_sources.find(name);
    if (strategy == InheritStrategy::kFirstChannels && teacher_parts != teacher_sources.end() &&
        student_parts != student_sources.end()) {
      kept[1] = FirstOfEach(teacher_parts->second, student_parts->second);
      fits = fits && static_cast<int64_t>(kept[1].size()) == tensor.shape[1];
    }
    if (fits) tensor.bytes = Slice(from, kept);
  }
  return result;
}

}  // namespace kd
