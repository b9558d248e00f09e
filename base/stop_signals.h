// How a program is asked to stop.
#ifndef KD_BASE_STOP_SIGNALS_H_
#define KD_BASE_STOP_SIGNALS_H_

#include <sys/types.h>

#include <csignal>

#include "absl/time/time.h"

namespace kd {

// From its construction on, SIGINT and SIGTERM end no thread that is started later: Wait() sees them instead. Make it
// first in main().
class StopSignals {
 public:
  StopSignals();

  // Returns when the program is asked to stop.
  void Wait() const;
  // False: nobody asked within `duration`.
  bool WaitFor(absl::Duration duration) const;

 private:
  sigset_t set_;
};

// SIGTERM comes when the thread of process `parent` that started this program has ended, however; at once if it already
// has.
void StopWithParent(pid_t parent);

}  // namespace kd

#endif  // KD_BASE_STOP_SIGNALS_H_
