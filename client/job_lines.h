// A job in words: bar, remaining time and what limits it. Pure: what is shown depends on the arguments alone.
#ifndef KD_CLIENT_JOB_LINES_H_
#define KD_CLIENT_JOB_LINES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "kd/v1/coordinator.pb.h"

namespace kd {

// "6 h 20 min", "3 min 05 s", "12 s".
std::string ShortDuration(absl::Duration duration);
// "1.6 GB"; decimal units.
std::string ShortBytes(uint64_t bytes);
// "12 345 678".
std::string Grouped(uint64_t number);

// How long a job will still train, from the steps that were seen, or from its own report while there are too few.
class EtaEstimator {
 public:
  // Steps that went back (the job resumed from a checkpoint) or another generation begin a new measurement.
  void Observe(const v1::Job& job, absl::Time now);

  struct Eta {
    absl::Duration left;
    // "from 410 steps", "at 41 frames/s".
    std::string basis;
  };
  // Nothing while the job does not run or nothing tells its speed.
  std::optional<Eta> Estimate(const v1::Job& job) const;

 private:
  uint32_t generation_ = 0;
  std::optional<uint64_t> first_step_, last_step_;
  absl::Time first_time_, last_time_;
};

// "[######......]", `width` characters between the brackets.
std::string ProgressBar(uint64_t done, uint64_t total, int width);

// "data-wait 2 %", "cache hits 97 %", loss terms: what rank 0 last reported. Empty before the first report.
std::string ProgressDetail(const v1::Progress& progress);

// One line without the bar, for logs: "RUNNING step 40/100 epoch 2 ETA 3 min 05 s (from 30 steps) loss ...".
std::string JobLine(const v1::Job& job, const std::optional<EtaEstimator::Eta>& eta);

// What is redrawn on a terminal: two lines of at most `columns` characters, without an end of line after the last.
std::string JobBlock(const v1::Job& job, const std::optional<EtaEstimator::Eta>& eta, int columns);

// True when a plain line is due: state, reason, phase, generation or step moved.
bool HasMoved(const v1::Job& before, const v1::Job& after);

}  // namespace kd

#endif  // KD_CLIENT_JOB_LINES_H_
