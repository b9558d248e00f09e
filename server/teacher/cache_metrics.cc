#include "server/teacher/cache_metrics.h"

#include <string>
#include <utility>
#include <vector>

#include "prometheus/client_metric.h"
#include "prometheus/metric_family.h"
#include "prometheus/metric_type.h"

namespace kd {
namespace {

class CacheMetrics : public prometheus::Collectable {
 public:
  CacheMetrics(std::shared_ptr<const prometheus::Collectable> others, const ResponseStore& memory,
               const ResponseStore& disk)
      : others_(std::move(others)), memory_(memory), disk_(disk) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    std::vector<prometheus::MetricFamily> families = others_->Collect();
    const ResponseStoreStats tiers[] = {memory_.stats(), disk_.stats()};
    const auto add = [&](const char* name, const char* help, prometheus::MetricType type, auto value_of) {
      prometheus::MetricFamily& family = families.emplace_back();
      family.name = name;
      family.help = help;
      family.type = type;
      for (int tier = 0; tier < 2; ++tier) {
        prometheus::ClientMetric& metric = family.metric.emplace_back();
        metric.label.push_back({"tier", tier == 0 ? "memory" : "disk"});
        (type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value) =
            static_cast<double>(value_of(tiers[tier]));
      }
    };
    using prometheus::MetricType;
    using Stats = ResponseStoreStats;
    add("kd_cache_records", "Records in the tier", MetricType::Gauge, [](const Stats& s) { return s.records; });
    add("kd_cache_bytes", "Bytes of the tier's records", MetricType::Gauge, [](const Stats& s) { return s.bytes; });
    add("kd_cache_capacity_bytes", "Budget of the tier", MetricType::Gauge,
        [](const Stats& s) { return s.capacity_bytes; });
    add("kd_cache_tier_hits_total", "Records found in the tier", MetricType::Counter,
        [](const Stats& s) { return s.hits_total; });
    add("kd_cache_tier_misses_total", "Records looked for in vain", MetricType::Counter,
        [](const Stats& s) { return s.misses_total; });
    add("kd_cache_corrupt_records_total", "Records dropped because their checksum was wrong; each was computed again",
        MetricType::Counter, [](const Stats& s) { return s.corrupt_total; });
    add("kd_cache_read_only", "1 after a failed write: free space on the cache's disk and restart the teacher",
        MetricType::Gauge, [](const Stats& s) { return s.read_only; });
    return families;
  }

 private:
  const std::shared_ptr<const prometheus::Collectable> others_;
  const ResponseStore& memory_;
  const ResponseStore& disk_;
};

}  // namespace

std::unique_ptr<prometheus::Collectable> NewCacheMetrics(std::shared_ptr<const prometheus::Collectable> others,
                                                         const ResponseStore& memory, const ResponseStore& disk) {
  return std::make_unique<CacheMetrics>(std::move(others), memory, disk);
}

}  // namespace kd
