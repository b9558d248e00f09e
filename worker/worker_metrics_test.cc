#include "worker/worker_metrics.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace kd {
namespace {

// Values by name, with the first label's value behind a slash.
std::map<std::string, double> Read(const prometheus::Registry& registry) {
  std::map<std::string, double> values;
  for (const prometheus::MetricFamily& family : registry.Collect()) {
    for (const prometheus::ClientMetric& metric : family.metric) {
      const std::string name = metric.label.empty() ? family.name : family.name + "/" + metric.label[0].value;
      values[name] = family.type == prometheus::MetricType::Counter ? metric.counter.value : metric.gauge.value;
    }
  }
  return values;
}

TEST(WorkerMetricsTest, ShowsTheLastReport) {
  prometheus::Registry registry;
  WorkerMetrics metrics(registry);
  v1::Progress progress;
  progress.set_step(130);
  progress.set_responses(64);
  progress.set_cache_hits(60);
  progress.set_data_wait_share(0.25);
  (*progress.mutable_losses())["hm"] = 2;
  metrics.Show(progress);
  progress.set_step(150);
  progress.set_responses(96);
  (*progress.mutable_losses())["hm"] = 1.5;
  metrics.Show(progress);

  const std::map<std::string, double> values = Read(registry);
  EXPECT_EQ(values.at("kd_worker_step"), 150);
  EXPECT_EQ(values.at("kd_worker_responses_total"), 96);
  EXPECT_EQ(values.at("kd_worker_cached_responses_total"), 60);
  EXPECT_EQ(values.at("kd_worker_data_wait_ratio"), 0.25);
  EXPECT_EQ(values.at("kd_worker_loss/hm"), 1.5);
}

}  // namespace
}  // namespace kd
