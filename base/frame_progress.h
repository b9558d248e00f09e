// How far a command is that reads frame after frame.
#ifndef KD_BASE_FRAME_PROGRESS_H_
#define KD_BASE_FRAME_PROGRESS_H_

#include <cstddef>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kd {

// True when stderr is a terminal, so that a bar may redraw itself.
bool TalksToATerminal();

// Tells on stderr, once a second has passed: "<verb> 120 of 3712 frames, 45.0/s, 80 s left". A terminal has one line
// that changes every second, anything else a line every ten seconds. Thread-safe.
class FrameProgress {
 public:
  FrameProgress(std::string verb, size_t total);
  // Ends the line.
  ~FrameProgress();

  // One frame more.
  void Done();

 private:
  const std::string verb_;
  const size_t total_;
  const absl::Time start_ = absl::Now();
  absl::Mutex mutex_;
  size_t done_ ABSL_GUARDED_BY(mutex_) = 0;
  bool shown_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time next_ ABSL_GUARDED_BY(mutex_) = start_ + absl::Seconds(1);
};

}  // namespace kd

#endif  // KD_BASE_FRAME_PROGRESS_H_
