#include "models/active_sites.h"

#include <string>
#include <utility>
#include <vector>

namespace kd {

using torch::Tensor;

ActiveSites::ActiveSites(SparseSites sites) : sites_(std::move(sites)) {
  std::call_once(once_, [] {});
}

ActiveSites::ActiveSites(SiteKeys keys) : keys_(std::move(keys)) {}

int64_t ActiveSites::size() const { return keys_ ? keys_->keys.size(0) : static_cast<int64_t>(sites_.size()); }

int64_t ActiveSites::batch() const { return keys_ ? keys_->batch : sites_.batch(); }

const SparseShape& ActiveSites::shape() const { return keys_ ? keys_->shape : sites_.shape(); }

const SparseSites& ActiveSites::OnCpu() const {
  std::call_once(once_, [this] {
    const Tensor rows = Coordinates().to(torch::kCPU, torch::kInt32).contiguous();
    std::vector<Site> sites(rows.size(0));
    const int32_t* from = rows.data_ptr<int32_t>();
    for (Site& site : sites) {
      site = {from[0], from[1], from[2], from[3]};
      from += 4;
    }
    auto sorted = SparseSites::Sort(sites, static_cast<int32_t>(batch()), shape());
    TORCH_CHECK(sorted.ok(), std::string(sorted.status().message()));
    sites_ = std::move(sorted->sites);
  });
  return sites_;
}

Tensor ActiveSites::Coordinates() const {
  if (keys_) {
    const SiteColumns columns = ColumnsOf(*keys_);
    return torch::stack({columns.frame, columns.z, columns.y, columns.x}, 1);
  }
  Tensor coords = torch::empty({size(), 4}, torch::kInt64);
  int64_t* to = coords.data_ptr<int64_t>();
  for (const Site& site : sites_.sites()) {
    for (const int32_t value : {site.frame, site.z, site.y, site.x}) *to++ = value;
  }
  return coords;
}

SiteColumns ColumnsOf(const SiteKeys& sites) {
  const auto [depth, height, width] = sites.shape;
  const auto divided = [](const Tensor& t, int64_t by) { return torch::div(t, by, "floor"); };
  SiteColumns columns;
  columns.x = sites.keys.remainder(width);
  const Tensor lines = divided(sites.keys, width);
  columns.y = lines.remainder(height);
  const Tensor planes = divided(lines, height);
  columns.z = planes.remainder(depth);
  columns.frame = divided(planes, depth);
  return columns;
}

}  // namespace kd
