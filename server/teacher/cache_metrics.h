// The response cache's tiers as metrics.
#ifndef KD_SERVER_TEACHER_CACHE_METRICS_H_
#define KD_SERVER_TEACHER_CACHE_METRICS_H_

#include <memory>

#include "prometheus/collectable.h"
#include "storage/response_store.h"

namespace kd {

// Collects what `others` does and, per tier ("memory", "disk"), as the store counts it at that moment:
// kd_cache_records, kd_cache_bytes, kd_cache_capacity_bytes, kd_cache_tier_hits_total, kd_cache_tier_misses_total,
// kd_cache_corrupt_records_total (each was computed again) and kd_cache_read_only (1 after a failed write: alert on it;
// answers go on). The stores outlive it.
std::unique_ptr<prometheus::Collectable> NewCacheMetrics(std::shared_ptr<const prometheus::Collectable> others,
                                                         const ResponseStore& memory, const ResponseStore& disk);

}  // namespace kd

#endif  // KD_SERVER_TEACHER_CACHE_METRICS_H_
