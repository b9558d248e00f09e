// A worker's numbers as Prometheus sees them.
#ifndef KD_WORKER_WORKER_METRICS_H_
#define KD_WORKER_WORKER_METRICS_H_

#include "kd/v1/coordinator.pb.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"

namespace kd {

// kd_worker_step, kd_worker_responses_total and kd_worker_cached_responses_total (since the worker's start), and of the
// last interval kd_worker_loss{term}, kd_worker_learning_rate, kd_worker_samples_per_second, kd_worker_data_wait_ratio.
// Used by one thread; `registry` outlives it and may be read by others.
class WorkerMetrics {
 public:
  explicit WorkerMetrics(prometheus::Registry& registry);

  // Takes over what the training loop reports.
  void Show(const v1::Progress& progress);

 private:
  prometheus::Gauge& step_;
  prometheus::Counter& responses_;
  prometheus::Counter& cached_responses_;
  prometheus::Gauge& learning_rate_;
  prometheus::Gauge& samples_per_second_;
  prometheus::Gauge& data_wait_;
  prometheus::Family<prometheus::Gauge>& losses_;
};

}  // namespace kd

#endif  // KD_WORKER_WORKER_METRICS_H_
