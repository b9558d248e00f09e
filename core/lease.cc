#include "core/lease.h"

#include <algorithm>

namespace kd {

void LeaseTable::Observe(absl::Time now) {
  if (last_ != absl::InfinitePast()) {
    awake_ += std::clamp(now - last_, absl::ZeroDuration(), max_gap_);
  }
  last_ = now;
}

void LeaseTable::Grant(absl::string_view holder, absl::Duration length) {
  leases_.insert_or_assign(std::string(holder), Lease{.granted = awake_, .length = length});
}

void LeaseTable::Release(absl::string_view holder) { leases_.erase(std::string(holder)); }

bool LeaseTable::Expired(absl::string_view holder) const {
  const auto lease = leases_.find(std::string(holder));
  return lease != leases_.end() && awake_ - lease->second.granted >= lease->second.length;
}

absl::Duration LeaseTable::Silence(absl::string_view holder) const {
  const auto lease = leases_.find(std::string(holder));
  return lease == leases_.end() ? absl::ZeroDuration() : awake_ - lease->second.granted;
}

}  // namespace kd
