#include "base/stop_signals.h"

#include <sys/prctl.h>
#include <unistd.h>

namespace kd {

StopSignals::StopSignals() {
  sigemptyset(&set_);
  sigaddset(&set_, SIGINT);
  sigaddset(&set_, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
}

void StopSignals::Wait() const {
  int signal = 0;
  sigwait(&set_, &signal);
}

bool StopSignals::WaitFor(absl::Duration duration) const {
  const timespec time = absl::ToTimespec(duration);
  return sigtimedwait(&set_, nullptr, &time) > 0;
}

void StopWithParent(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::kill(::getpid(), SIGTERM);
}

}  // namespace kd
