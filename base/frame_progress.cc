#include "base/frame_progress.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "absl/strings/str_format.h"

namespace kd {

bool TalksToATerminal() { return ::isatty(STDERR_FILENO) == 1; }

FrameProgress::FrameProgress(std::string verb, size_t total) : verb_(std::move(verb)), total_(total) {}

FrameProgress::~FrameProgress() {
  const absl::MutexLock lock(&mutex_);
  if (shown_ && TalksToATerminal()) std::cerr << "\n";
}

void FrameProgress::Done() {
  const absl::MutexLock lock(&mutex_);
  ++done_;
  const absl::Time now = absl::Now();
  if (now < next_) return;
  next_ = now + (TalksToATerminal() ? absl::Seconds(1) : absl::Seconds(10));
  const double rate = static_cast<double>(done_) / absl::ToDoubleSeconds(now - start_);
  const std::string line = absl::StrFormat("%s %d of %d frames, %.1f/s, %.0f s left", verb_, done_, total_, rate,
                                           static_cast<double>(total_ - done_) / rate);
  std::cerr << (TalksToATerminal() ? "\r\x1b[K" : "") << line << (TalksToATerminal() ? "" : "\n") << std::flush;
  shown_ = true;
}

}  // namespace kd
