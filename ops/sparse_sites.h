// Active sites of a sparse 3D tensor, in order (detectors.md section 1.3).
//
// Sites are kept sorted by (frame, z, y, x). A scanline is one (frame, z, y); its sites stand together with ascending
// x. So neighbours are found by walking two scanlines side by side instead of by hashing, and rows that are used
// together lie together in memory (docs/adr/2026-11-25-sorted-sparse-sites.md).
#ifndef KD_OPS_SPARSE_SITES_H_
#define KD_OPS_SPARSE_SITES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace kd {

// Extents along z, y, x.
using SparseShape = std::array<int32_t, 3>;

struct Site {
  int32_t frame = 0, z = 0, y = 0, x = 0;

  friend bool operator==(const Site&, const Site&) = default;
};

// Kernel extents, strides and zero padding along z, y, x.
struct ConvGeometry {
  std::array<int32_t, 3> kernel{3, 3, 3};
  std::array<int32_t, 3> stride{1, 1, 1};
  std::array<int32_t, 3> padding{1, 1, 1};

  // Kernel positions; position (kz, ky, kx) has the number (kz * kernel[1] + ky) * kernel[2] + kx.
  int32_t volume() const { return kernel[0] * kernel[1] * kernel[2]; }
  // floor((extent + 2 padding - kernel) / stride) + 1 per axis.
  SparseShape OutputShape(const SparseShape& input) const;
  // Submanifold: stride 1 and padding (kernel - 1) / 2, so that sites stay where they are.
  static ConvGeometry Submanifold(const std::array<int32_t, 3>& kernel);
};

class SparseSites {
 public:
  // Sorted sites and, per sorted row, the row of `sites` that stands there.
  struct Sorted;
  // INVALID_ARGUMENT: a site outside `batch` x `shape`, or one that stands there twice (named).
  static absl::StatusOr<Sorted> Sort(const std::vector<Site>& sites, int32_t batch, const SparseShape& shape);

  // Sites of a strided convolution's output: those that at least one of these reaches.
  SparseSites Convolved(const ConvGeometry& geometry) const;

  size_t size() const { return sites_.size(); }
  const std::vector<Site>& sites() const { return sites_; }
  int32_t batch() const { return batch_; }
  const SparseShape& shape() const { return shape_; }

  struct Range {
    int32_t begin = 0, end = 0;
  };
  // Rows of a scanline; (frame, z, y) must lie inside.
  Range Scanline(int32_t frame, int32_t z, int32_t y) const {
    const size_t at = (static_cast<size_t>(frame) * shape_[0] + z) * shape_[1] + y;
    return {starts_[at], starts_[at + 1]};
  }

 private:
  std::vector<Site> sites_;
  // First row of each scanline, and the number of rows.
  std::vector<int32_t> starts_;
  int32_t batch_ = 0;
  SparseShape shape_{};
};

struct SparseSites::Sorted {
  SparseSites sites;
  std::vector<int32_t> rows;
};

}  // namespace kd

#endif  // KD_OPS_SPARSE_SITES_H_
