#include "worker/worker_metrics.h"

#include <string>

namespace kd {
namespace {

prometheus::Counter& NewCounter(prometheus::Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
}
prometheus::Gauge& NewGauge(prometheus::Registry& registry, const std::string& name, const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

void RaiseTo(prometheus::Counter& counter, uint64_t value) {
  if (const double more = static_cast<double>(value) - counter.Value(); more > 0) counter.Increment(more);
}

}  // namespace

WorkerMetrics::WorkerMetrics(prometheus::Registry& registry)
    : step_(NewGauge(registry, "kd_worker_step", "Steps of the job that are done")),
      responses_(NewCounter(registry, "kd_worker_responses_total", "Teacher responses used")),
      cached_responses_(NewCounter(registry, "kd_worker_cached_responses_total", "Responses for which no teacher ran")),
      learning_rate_(NewGauge(registry, "kd_worker_learning_rate", "Of the last step")),
      samples_per_second_(NewGauge(registry, "kd_worker_samples_per_second", "Frames trained on")),
      data_wait_(NewGauge(registry, "kd_worker_data_wait_ratio",
                          "Share of time that the training loop waited for frames or responses")),
      losses_(prometheus::BuildGauge()
                  .Name("kd_worker_loss")
                  .Help("Terms of the loss, weighted, means over a second or so")
                  .Register(registry)) {}

void WorkerMetrics::Show(const v1::Progress& progress) {
  step_.Set(static_cast<double>(progress.step()));
  RaiseTo(responses_, progress.responses());
  RaiseTo(cached_responses_, progress.cache_hits());
  learning_rate_.Set(progress.learning_rate());
  samples_per_second_.Set(progress.samples_per_second());
  data_wait_.Set(progress.data_wait_share());
  for (const auto& [term, value] : progress.losses()) losses_.Add({{"term", term}}).Set(value);
}

}  // namespace kd
