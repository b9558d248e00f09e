// Active sites of a batch of sparse 3D grids, on the CPU or on another device.
#ifndef KD_MODELS_ACTIVE_SITES_H_
#define KD_MODELS_ACTIVE_SITES_H_

#include <cstdint>
#include <mutex>
#include <optional>

#include "ops/sparse_sites.h"
#include "torch/torch.h"

namespace kd {

// Sites as ascending numbers ((frame * D + z) * H + y) * W + x, on any device.
struct SiteKeys {
  torch::Tensor keys;  // N int64
  int64_t batch = 0;
  SparseShape shape{};
};

// Immutable; safe from any thread.
class ActiveSites {
 public:
  explicit ActiveSites(SparseSites sites);
  explicit ActiveSites(SiteKeys keys);

  int64_t size() const;
  int64_t batch() const;
  const SparseShape& shape() const;

  // Copied from the device when first asked for.
  const SparseSites& OnCpu() const;
  // Only of sites that were made of keys; those of features on the CPU have none.
  const SiteKeys& keys() const { return *keys_; }
  // N x 4 int64: frame, z, y, x; where the sites are.
  torch::Tensor Coordinates() const;

 private:
  const std::optional<SiteKeys> keys_;
  mutable std::once_flag once_;
  mutable SparseSites sites_;
};

// Columns frame, z, y, x of the sites, N int64 each.
struct SiteColumns {
  torch::Tensor frame, z, y, x;
};
SiteColumns ColumnsOf(const SiteKeys& sites);

}  // namespace kd

#endif  // KD_MODELS_ACTIVE_SITES_H_
