#include "ops/sparse_sites.h"

#include <algorithm>
#include <utility>

#include "absl/numeric/bits.h"
#include "absl/strings/str_cat.h"

namespace kd {
namespace {

std::string Text(const Site& site) {
  return absl::StrCat("(frame ", site.frame, ", z ", site.z, ", y ", site.y, ", x ", site.x, ")");
}

// Input positions i of one axis that output position o reads: i = o * stride - padding + k for k in [0, kernel).
struct AxisRange {
  int32_t begin, end;
};
AxisRange InputsOf(int32_t output, const ConvGeometry& g, int axis, int32_t extent) {
  const int32_t low = output * g.stride[axis] - g.padding[axis];
  return {std::max(low, 0), std::min(low + g.kernel[axis], extent)};
}

}  // namespace

SparseShape ConvGeometry::OutputShape(const SparseShape& input) const {
  SparseShape out{};
  for (int axis = 0; axis < 3; ++axis) {
    const int32_t room = input[axis] + 2 * padding[axis] - kernel[axis];
    out[axis] = room < 0 ? 0 : room / stride[axis] + 1;
  }
  return out;
}

ConvGeometry ConvGeometry::Submanifold(const std::array<int32_t, 3>& kernel) {
  ConvGeometry g{.kernel = kernel};
  for (int axis = 0; axis < 3; ++axis) g.padding[axis] = (kernel[axis] - 1) / 2;
  return g;
}

absl::StatusOr<SparseSites::Sorted> SparseSites::Sort(const std::vector<Site>& sites, int32_t batch,
                                                      const SparseShape& shape) {
  Sorted result;
  SparseSites& sorted = result.sites;
  sorted.batch_ = batch;
  sorted.shape_ = shape;
  sorted.starts_.assign(static_cast<size_t>(batch) * shape[0] * shape[1] + 1, 0);
  const auto scanline = [&](const Site& s) { return (static_cast<size_t>(s.frame) * shape[0] + s.z) * shape[1] + s.y; };
  for (const Site& s : sites) {
    const bool inside = s.frame >= 0 && s.frame < batch && s.z >= 0 && s.z < shape[0] && s.y >= 0 && s.y < shape[1] &&
                        s.x >= 0 && s.x < shape[2];
    if (!inside) {
      return absl::InvalidArgumentError(absl::StrCat("site ", Text(s), " lies outside ", batch, " frames of ", shape[0],
                                                     " x ", shape[1], " x ", shape[2], " cells (z, y, x)"));
    }
    ++sorted.starts_[scanline(s) + 1];
  }
  for (size_t i = 1; i < sorted.starts_.size(); ++i) sorted.starts_[i] += sorted.starts_[i - 1];
  result.rows.resize(sites.size());
  std::vector<int32_t> next(sorted.starts_.begin(), sorted.starts_.end() - 1);
  for (size_t i = 0; i < sites.size(); ++i) result.rows[next[scanline(sites[i])]++] = static_cast<int32_t>(i);
  sorted.sites_.resize(sites.size());
  for (size_t line = 0; line + 1 < sorted.starts_.size(); ++line) {
    const int32_t begin = sorted.starts_[line], end = sorted.starts_[line + 1];
    std::sort(result.rows.begin() + begin, result.rows.begin() + end,
              [&](int32_t a, int32_t b) { return sites[a].x < sites[b].x; });
    for (int32_t row = begin; row < end; ++row) {
      sorted.sites_[row] = sites[result.rows[row]];
      if (row > begin && sorted.sites_[row].x == sorted.sites_[row - 1].x) {
        return absl::InvalidArgumentError(
            absl::StrCat("site ", Text(sorted.sites_[row]), " stands there twice; sites must be unique"));
      }
    }
  }
  return result;
}

SparseSites SparseSites::Convolved(const ConvGeometry& g) const {
  SparseSites out;
  out.batch_ = batch_;
  out.shape_ = g.OutputShape(shape_);
  const auto [depth, height, width] = out.shape_;
  out.starts_.reserve(static_cast<size_t>(batch_) * depth * height + 1);
  out.starts_.push_back(0);
  // One bit per cell of an output scanline.
  std::vector<uint64_t> reached((static_cast<size_t>(width) + 63) / 64);
  for (int32_t frame = 0; frame < batch_; ++frame) {
    for (int32_t oz = 0; oz < depth; ++oz) {
      for (int32_t oy = 0; oy < height; ++oy) {
        bool any = false;
        const AxisRange zs = InputsOf(oz, g, 0, shape_[0]), ys = InputsOf(oy, g, 1, shape_[1]);
        for (int32_t z = zs.begin; z < zs.end; ++z) {
          for (int32_t y = ys.begin; y < ys.end; ++y) {
            const Range line = Scanline(frame, z, y);
            any = any || line.begin < line.end;
            for (int32_t row = line.begin; row < line.end; ++row) {
              const int32_t shifted = sites_[row].x + g.padding[2];
              // Outputs o with 0 <= shifted - o * stride < kernel.
              const int32_t low = shifted - g.kernel[2] + 1;
              const int32_t first = low <= 0 ? 0 : (low + g.stride[2] - 1) / g.stride[2];
              const int32_t last = std::min(shifted / g.stride[2], width - 1);
              for (int32_t x = first; x <= last; ++x) reached[static_cast<size_t>(x) / 64] |= uint64_t{1} << (x % 64);
            }
          }
        }
        for (size_t word = 0; any && word < reached.size(); ++word) {
          for (uint64_t bits = std::exchange(reached[word], 0); bits != 0; bits &= bits - 1) {
            out.sites_.push_back({frame, oz, oy, static_cast<int32_t>(word * 64) + absl::countr_zero(bits)});
          }
        }
        out.starts_.push_back(static_cast<int32_t>(out.sites_.size()));
      }
    }
  }
  return out;
}

}  // namespace kd
