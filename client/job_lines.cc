#include "client/job_lines.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/text.h"
#include "core/job_state.h"

namespace kd {
namespace {

constexpr int kBarWidth = 24;
// Fewer steps are no basis: the first ones warm caches up.
constexpr uint64_t kBasisSteps = 5;

std::string Percent(double share) { return absl::StrFormat("%.0f %%", 100 * share); }

std::string StepText(const v1::Progress& progress) {
  if (progress.total_steps() == 0) return "";
  return absl::StrCat("step ", progress.step(), "/", progress.total_steps(), "  epoch ", progress.epoch());
}

std::string EtaText(const std::optional<EtaEstimator::Eta>& eta) {
  return eta.has_value() ? absl::StrCat("ETA ", ShortDuration(eta->left), " (", eta->basis, ")") : "";
}

std::string JoinWords(const std::vector<std::string>& parts) {
  std::vector<std::string> words;
  for (const std::string& part : parts) {
    if (!part.empty()) words.push_back(part);
  }
  return absl::StrJoin(words, "  ");
}

// Cut to `columns` characters; UTF-8 sequences stay whole.
std::string Cut(const std::string& text, int columns) {
  int seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins && ++seen > columns) return text.substr(0, i);
  }
  return text;
}

}  // namespace

std::string ShortDuration(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(duration));
  if (seconds >= 86400) return absl::StrFormat("%d d %02d h", seconds / 86400, seconds % 86400 / 3600);
  if (seconds >= 3600) return absl::StrFormat("%d h %02d min", seconds / 3600, seconds % 3600 / 60);
  if (seconds >= 60) return absl::StrFormat("%d min %02d s", seconds / 60, seconds % 60);
  return absl::StrFormat("%d s", seconds);
}

std::string ShortBytes(uint64_t bytes) {
  if (bytes < 1000) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"kB", "MB", "GB", "TB", "PB"}) {
    if (value < 999.5) break;
    value /= 1000;
    unit = next;
  }
  return absl::StrFormat(value < 9.95 ? "%.1f %s" : "%.0f %s", value, unit);
}

std::string Grouped(uint64_t number) {
  const std::string digits = absl::StrCat(number);
  std::string text;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ' ';
    text += digits[i];
  }
  return text;
}

void EtaEstimator::Observe(const v1::Job& job, absl::Time now) {
  if (job.state() != v1::JOB_STATE_RUNNING || !job.has_progress()) return;
  const uint64_t step = job.progress().step();
  // What comes before the first step is no step's time.
  if (step == 0) return;
  if (job.generation() != generation_ || !first_step_.has_value() || step < *last_step_) {
    generation_ = job.generation();
    first_step_ = last_step_ = step;
    first_time_ = last_time_ = now;
  } else if (step > *last_step_) {
    last_step_ = step;
    last_time_ = now;
  }
}

std::optional<EtaEstimator::Eta> EtaEstimator::Estimate(const v1::Job& job) const {
  const v1::Progress& progress = job.progress();
  if (job.state() != v1::JOB_STATE_RUNNING || progress.total_steps() <= progress.step()) return std::nullopt;
  const double left = static_cast<double>(progress.total_steps() - progress.step());
  if (first_step_.has_value() && *last_step_ - *first_step_ >= kBasisSteps && last_time_ > first_time_) {
    const double steps = static_cast<double>(*last_step_ - *first_step_);
    return Eta{left / steps * (last_time_ - first_time_), absl::StrCat("from ", *last_step_ - *first_step_, " steps")};
  }
  if (progress.samples_per_second() <= 0) return std::nullopt;
  const double steps_per_second = progress.samples_per_second() / std::max(1u, job.pair().train().batch_size());
  return Eta{absl::Seconds(left / steps_per_second),
             absl::StrFormat("at %.3g frames/s", progress.samples_per_second())};
}

std::string ProgressBar(uint64_t done, uint64_t total, int width) {
  const int full = total == 0 ? 0 : static_cast<int>(std::min(done, total) * static_cast<uint64_t>(width) / total);
  return absl::StrCat("[", std::string(static_cast<size_t>(full), '#'),
                      std::string(static_cast<size_t>(width - full), '.'), "]");
}

std::string ProgressDetail(const v1::Progress& progress) {
  std::vector<std::string> parts;
  const std::map<std::string, double> losses(progress.losses().begin(), progress.losses().end());
  for (const auto& [name, value] : losses) parts.push_back(absl::StrFormat("%s %.3g", name, value));
  std::string out = parts.empty() ? "" : absl::StrCat("loss ", absl::StrJoin(parts, " "));
  if (progress.samples_per_second() > 0) {
    out = JoinWords({out, absl::StrFormat("%.3g frames/s", progress.samples_per_second()),
                     absl::StrCat("data-wait ", Percent(progress.data_wait_share()))});
  }
  if (progress.responses() > 0) {
    const double hits = static_cast<double>(progress.cache_hits()) / static_cast<double>(progress.responses());
    out = JoinWords({out, absl::StrCat("cache hits ", Percent(hits))});
  }
  return out;
}

std::string JobLine(const v1::Job& job, const std::optional<EtaEstimator::Eta>& eta) {
  if (job.state() != v1::JOB_STATE_RUNNING) return JoinWords({JobStateName(job.state()), OneLine(job.reason())});
  const v1::Progress& progress = job.progress();
  const std::string phase = progress.phase() == "training" ? "" : progress.phase();
  return OneLine(
      JoinWords({JobStateName(job.state()), phase, StepText(progress), EtaText(eta), ProgressDetail(progress)}));
}

std::string JobBlock(const v1::Job& job, const std::optional<EtaEstimator::Eta>& eta, int columns) {
  const v1::Progress& progress = job.progress();
  const std::string bar =
      progress.total_steps() == 0 ? "" : ProgressBar(progress.step(), progress.total_steps(), kBarWidth);
  const std::string first = JoinWords({job.id(), JobStateName(job.state()), bar, StepText(progress), EtaText(eta)});
  const bool quiet = job.state() != v1::JOB_STATE_RUNNING;
  const std::string phase = progress.phase() == "training" ? "" : progress.phase();
  const std::string second = OneLine(quiet ? job.reason() : JoinWords({phase, ProgressDetail(progress)}));
  return absl::StrCat(Cut(first, columns), "\n", Cut("  " + second, columns));
}

bool HasMoved(const v1::Job& before, const v1::Job& after) {
  return before.state() != after.state() || before.reason() != after.reason() ||
         before.generation() != after.generation() || before.progress().step() != after.progress().step() ||
         before.progress().phase() != after.progress().phase();
}

}  // namespace kd
